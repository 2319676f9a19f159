#include "json_writer.hpp"

#include <cmath>

#include "text.hpp"

namespace eetool {

void JsonWriter::separate() {
  if (needs_comma_) text_ += ", ";
  needs_comma_ = true;
}

void JsonWriter::begin(char bracket) {
  separate();
  text_ += bracket;
  needs_comma_ = false;
}

void JsonWriter::end(char bracket) {
  text_ += bracket;
  needs_comma_ = true;
}

void JsonWriter::raw(std::string_view text) {
  separate();
  text_ += text;
}

void JsonWriter::key(std::string_view name) {
  separate();
  quote(name);
  text_ += ": ";
  needs_comma_ = false;
}

void JsonWriter::value(double value) { raw(std::isfinite(value) ? float_text(value) : "null"); }

void JsonWriter::value(std::string_view value) {
  separate();
  quote(value);
}

void JsonWriter::quote(std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  text_ += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text_ += {'\\', c};
    } else if (byte < 0x20) {
      text_ += "\\u00";
      text_ += {digits[byte >> 4], digits[byte & 15]};
    } else {
      text_ += c;
    }
  }
  text_ += '"';
}

}  // namespace eetool
