#include "text.hpp"

#include <array>
#include <charconv>
#include <cstdint>

namespace eetool {
namespace {

constexpr std::size_t kMaxName = 128;
constexpr std::size_t kMaxText = 256;
constexpr std::size_t kMaxPath = 240;
constexpr std::size_t kMaxQuoted = 60;

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_alphanumeric(char c) { return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z'); }
bool is_name_character(char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; }

bool is_control(std::uint32_t point) { return point < 0x20 || (point >= 0x7f && point <= 0x9f); }

/// Read one code point at `at` and advance; return false where the bytes are not UTF-8.
bool next_code_point(std::string_view text, std::size_t& at, std::uint32_t& point) {
  const auto byte = static_cast<unsigned char>(text[at]);
  const std::size_t size = byte < 0x80 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 0;
  if (size == 0 || byte > 0xf4 || at + size > text.size()) return false;
  point = size == 1 ? byte : byte & (0x7fU >> size);
  for (std::size_t i = 1; i < size; ++i) {
    const auto follower = static_cast<unsigned char>(text[at + i]);
    if ((follower & 0xc0) != 0x80) return false;
    point = (point << 6) | (follower & 0x3fU);
  }
  constexpr std::array<std::uint32_t, 5> smallest = {0, 0, 0x80, 0x800, 0x10000};
  if (point < smallest[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
  at += size;
  return true;
}

}  // namespace

bool is_name(std::string_view value) {
  if (value.empty() || value.size() > kMaxName || !is_alphanumeric(value[0])) return false;
  for (const char c : value) {
    if (!is_name_character(c)) return false;
  }
  return true;
}

bool is_text(std::string_view value) {
  std::size_t characters = 0;
  std::uint32_t point = 0;
  for (std::size_t at = 0; at < value.size(); ++characters) {
    if (characters == kMaxText || !next_code_point(value, at, point) || is_control(point)) return false;
  }
  return characters > 0;
}

bool is_path(std::string_view value) {
  if (value.size() > kMaxPath) return false;
  for (std::size_t start = 0;;) {
    const std::size_t slash = value.find('/', start);
    const std::string_view part = value.substr(start, slash == value.npos ? value.npos : slash - start);
    if (part.empty() || !is_alphanumeric(part[0])) return false;
    for (const char c : part) {
      if (!is_name_character(c)) return false;
    }
    if (slash == value.npos) return true;
    start = slash + 1;
  }
}

bool is_variant(std::string_view value) {
  const std::size_t slash = value.find('/');
  if (slash == value.npos || slash == 0) return false;
  for (const char c : value.substr(0, slash)) {
    if (!is_lower_or_digit(c)) return false;
  }
  char before = '-';  // a hyphen may neither begin the precision nor follow another
  for (const char c : value.substr(slash + 1)) {
    if (!is_lower_or_digit(c) && (c != '-' || before == '-')) return false;
    before = c;
  }
  return before != '-';
}

bool is_sha256(std::string_view value) {
  if (value.size() != 64) return false;
  for (const char c : value) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

std::string in_quotes(std::string_view value) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text = "'";
  for (const char c : value) {
    if (text.size() >= kMaxQuoted) return text + "…'";
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      text += c;
    } else {
      text += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return text + "'";
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (result.size() >= limit) return result + "…";
    const std::size_t start = at;
    std::uint32_t point = 0;
    if (!next_code_point(text, at, point)) {
      at = start + 1;
      point = 0;
    }
    if (is_control(point)) {
      result += point == '\n' ? ' ' : '?';
    } else {
      result.append(text, start, at - start);
    }
  }
  return result;
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

std::string number_text(double number) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  return std::string(buffer.data(), end);
}

std::string number_text(double number, int digits) {
  std::array<char, 32> buffer{};
  char* const end = buffer.data() + buffer.size();
  return std::string(buffer.data(), std::to_chars(buffer.data(), end, number, std::chars_format::general, digits).ptr);
}

std::string float_text(double number) {
  const std::string text = number_text(number);
  return text.find_first_not_of("-0123456789") == text.npos ? text + ".0" : text;
}

}  // namespace eetool
