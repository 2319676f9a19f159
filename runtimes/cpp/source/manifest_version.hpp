// Version of a manifest.
#pragma once

#include "json.hpp"

namespace eetool {

inline constexpr int kNewestMinor = 1;  // that this reader knows; unknown fields of later ones are ignored

/// Return the minor version of the document; throws where it is of another major one.
int minor_version(const JsonValue& document);

}  // namespace eetool
