// Check of the default operating point: does it cost less than the network without early exits, by the manifest?
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"

namespace eetool {

/// Return why the default operating point does not pay; nothing where it does, or nothing is known of it.
///
/// component_ms: latency of each component that was measured on this machine, by position.
std::optional<std::string> default_point_warning(const Manifest& manifest, const Variant& variant,
                                                 const std::vector<std::optional<double>>& component_ms);

}  // namespace eetool
