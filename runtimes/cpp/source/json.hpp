// Strict parsing of JSON: what docs/bundle-format.md refuses in section 2 is refused here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace eetool {

struct JsonValue;
using JsonList = std::vector<JsonValue>;
using JsonMembers = std::vector<std::pair<std::string, JsonValue>>;  // in the order of the text

/// An object; the type of its own tells it from a list.
struct JsonObject {
  JsonMembers members;
};

struct JsonValue {
  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, JsonList, JsonObject> data = nullptr;

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&data);
  }
};

/// Parse `text`; throws a bundle error, whose message begins with `where`.
JsonValue parse_json(std::string_view text, const std::string& where);

/// Return a value as in a message: short and printable.
std::string describe(const JsonValue& value);

}  // namespace eetool
