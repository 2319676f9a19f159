// Kinds of string in a manifest (docs/bundle-format.md, section 2), and text for messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace eetool {

bool is_name(std::string_view value);
bool is_text(std::string_view value);
bool is_path(std::string_view value);
bool is_variant(std::string_view value);
bool is_sha256(std::string_view value);

/// Return `value` in quotes, with control and non-ASCII bytes as `\xNN` and cut after 60 characters.
std::string in_quotes(std::string_view value);

/// Return `text` with control characters and bytes that are not UTF-8 replaced by `?`, cut after `limit` bytes.
std::string printable(std::string_view text, std::size_t limit = 400);

/// Return `parts` joined by `separator`.
std::string join(const std::vector<std::string>& parts, std::string_view separator = ", ");

/// Return a number as its shortest text, such as `0.8` or `1e+300`, or in some digits; whatever the locale.
std::string number_text(double number);
std::string number_text(double number, int digits);

/// Return a number as text that shows that it is no integer: `1.0`.
std::string float_text(double number);

}  // namespace eetool
