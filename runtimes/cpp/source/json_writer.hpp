// Writing of JSON, value by value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace eetool {

/// The text of one JSON document. Numbers are written in the shortest form that reads back as the same number.
class JsonWriter {
 public:
  void begin_object() { begin('{'); }
  void end_object() { end('}'); }
  void begin_list() { begin('['); }
  void end_list() { end(']'); }
  void key(std::string_view name);

  void null() { raw("null"); }
  void value(bool value) { raw(value ? "true" : "false"); }
  void value(double value);  // null unless it is finite
  void value(std::string_view value);
  void value(const std::string& value) { this->value(std::string_view(value)); }
  void value(const char* value) { this->value(std::string_view(value)); }
  template <typename T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
  void value(T value) {
    raw(std::to_string(value));
  }
  template <typename T>
  void value(const std::optional<T>& value) {
    value ? this->value(*value) : null();
  }
  template <typename T>
  void value(const std::vector<T>& values) {
    begin_list();
    for (const T& item : values) value(item);
    end_list();
  }

  template <typename T>
  void member(std::string_view name, const T& value) {
    key(name);
    this->value(value);
  }

  std::string take() { return std::move(text_); }

 private:
  void begin(char bracket);
  void end(char bracket);
  void raw(std::string_view text);
  void separate();
  void quote(std::string_view text);

  std::string text_;
  bool needs_comma_ = false;
};

}  // namespace eetool
