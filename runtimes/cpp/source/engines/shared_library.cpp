#include "engines/shared_library.hpp"

#include <dlfcn.h>

#include <cstdlib>

#include "error.hpp"
#include "text.hpp"

namespace eetool {

namespace {

/// Return the library that the user names, or an empty text.
std::string named_library(const std::string& path, const char* variable) {
  if (!path.empty()) return path;
  const char* named = secure_getenv(variable);  // ignored where the process has more rights than its user
  return named == nullptr ? "" : named;
}

}  // namespace

SharedLibrary::SharedLibrary(const std::string& path, const char* variable, const std::vector<std::string>& usual_names,
                             const std::string& hint) {
  const std::string request = named_library(path, variable);
  std::string problem;
  for (const std::string& name : request.empty() ? usual_names : std::vector{request}) {
    handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr) {
      name_ = name;
      return;
    }
    const char* reason = dlerror();
    if (problem.empty()) problem = reason == nullptr ? name : reason;
  }
  throw backend_error("the engine's library cannot be loaded: " + printable(problem), hint);
}

void* SharedLibrary::symbol(const char* symbol_name) const { return dlsym(handle_, symbol_name); }

}  // namespace eetool
