// Version of a manifest: MAJOR.MINOR, decimal without leading zeros.
#include "manifest_version.hpp"

#include <string>

#include "error.hpp"
#include "manifest.hpp"

namespace eetool {
namespace {

constexpr int kMajor = 1;
constexpr std::string_view kSupported = "1.x";

/// Read a decimal number of 1 to 4 digits without leading zeros at `at`, and advance; -1 where there is none.
int version_part(std::string_view text, std::size_t& at) {
  const std::size_t start = at;
  int number = 0;
  while (at < text.size() && at - start < 4 && text[at] >= '0' && text[at] <= '9')
    number = number * 10 + text[at++] - '0';
  return at == start || (at - start > 1 && text[start] == '0') ? -1 : number;
}

}  // namespace

int minor_version(const JsonValue& document) {
  const auto* object = document.as<JsonObject>();
  const JsonValue* found = object == nullptr ? nullptr : find(object->members, "schema_version");
  const auto* version = found == nullptr ? nullptr : found->as<std::string>();
  int major = -1, minor = -1;
  if (version != nullptr) {
    std::size_t at = 0;
    major = version_part(*version, at);
    if (at < version->size() && (*version)[at] == '.') minor = version_part(*version, ++at);
    if (at != version->size()) minor = -1;
  }
  if (major < 0 || minor < 0) {
    const std::string actual = found == nullptr ? "nothing" : describe(*found);
    refuse_manifest("schema_version: expected '1.0' or '1.1', found " + actual);
  }
  if (major != kMajor) {
    throw bundle_error("manifest.json: schema_version " + *version + " cannot be read by this runtime, which reads " +
                           std::string(kSupported),
                       "Install the matching eetool-runtime, or export the bundle again with this version.");
  }
  return minor;
}

}  // namespace eetool
