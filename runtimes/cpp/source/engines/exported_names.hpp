// Names that a loaded library exports.
#pragma once

#include <string>
#include <vector>

namespace eetool {

/// Return the exported names that begin with `prefix`, in alphabetical order, of a library loaded by dlopen.
///
/// Empty where the library has no table of names that this function can read.
std::vector<std::string> exported_names(void* handle, const std::string& prefix);

}  // namespace eetool
