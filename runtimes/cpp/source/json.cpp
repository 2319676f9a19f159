#include "json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "error.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr std::int64_t kTooLong = 1'000'000'000'000'000'000;  // 19 digits
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxDigitsShown = 18;

/// Receiver of the parser's events, which builds the values and refuses what the parser itself would accept.
class ValueBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit ValueBuilder(std::string where) : where_(std::move(where)) {}

  JsonValue take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override {
    if (value <= -kTooLong || value >= kTooLong) refuse_integer(std::to_string(value));
    return add(value);
  }
  bool number_unsigned(std::uint64_t value) override {
    if (value >= static_cast<std::uint64_t>(kTooLong)) refuse_integer(std::to_string(value));
    return add(static_cast<std::int64_t>(value));
  }
  bool number_float(double value, const std::string& digits) override {
    // The parser turns an integer that fits no 64 bits into a float.
    if (digits.find_first_of(".eE") == std::string::npos) refuse_integer(digits);
    return add(value);
  }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(nlohmann::json::binary_t&) override { return false; }  // does not occur in text

  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return begin<JsonObject>();
  }
  bool start_array(std::size_t) override { return begin<JsonList>(); }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    open_.pop_back();
    return true;
  }
  bool key(std::string& name) override {
    if (!keys_.back().insert(name).second) refuse("the key " + in_quotes(name) + " occurs twice in one object");
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception& error) override {
    if (error.id == 406) refuse("the number " + in_quotes(token) + " is too large");
    refuse("it is not valid JSON at byte " + std::to_string(position) + ", near " + in_quotes(token));
  }

 private:
  [[noreturn]] void refuse(const std::string& reason) const { throw bundle_error(where_ + ": " + reason); }
  [[noreturn]] void refuse_integer(const std::string& digits) const {
    refuse("the integer " + digits.substr(0, kMaxDigitsShown) + "… is too long");
  }

  template <typename T>
  bool add(T value) {
    place().data.template emplace<T>(std::move(value));
    return true;
  }

  template <typename Container>
  bool begin() {
    if (open_.size() == kMaxDepth) refuse("it is nested too deeply");
    JsonValue& value = place();
    value.data.template emplace<Container>();
    open_.push_back(&value);
    return true;
  }

  /// Return the place of the next value, whose address is valid while it is the last one there.
  JsonValue& place() {
    if (open_.empty()) return root_;
    if (auto* list = std::get_if<JsonList>(&open_.back()->data)) return list->emplace_back();
    auto& [name, value] = std::get<JsonObject>(open_.back()->data).members.emplace_back();
    name = std::move(key_);
    return value;
  }

  std::string where_;
  JsonValue root_;
  std::vector<JsonValue*> open_;             // the lists and objects around the next value
  std::vector<std::set<std::string>> keys_;  // of the open objects
  std::string key_;
};

}  // namespace

JsonValue parse_json(std::string_view text, const std::string& where) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") throw bundle_error(where + ": it begins with a byte order mark");
  // The parser takes a null byte for the end of the text.
  if (text.find('\0') != text.npos) throw bundle_error(where + ": it is not valid JSON: it holds a null byte");
  ValueBuilder builder(where);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

std::string describe(const JsonValue& value) {
  if (value.as<std::nullptr_t>() != nullptr) return "null";
  if (const auto* boolean = value.as<bool>()) return *boolean ? "true" : "false";
  if (const auto* integer = value.as<std::int64_t>()) return std::to_string(*integer);
  if (const auto* number = value.as<double>()) return number_text(*number);
  if (const auto* text = value.as<std::string>()) return in_quotes(*text);
  return value.as<JsonList>() != nullptr ? "a list" : "an object";
}

}  // namespace eetool
