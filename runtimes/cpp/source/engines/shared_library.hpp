// A shared library that is loaded at run time and stays loaded.
#pragma once

#include <string>
#include <vector>

namespace eetool {

class SharedLibrary {
 public:
  /// Load `path`, or where it is empty the file that the environment variable names, or the first of `usual_names`.
  ///
  /// Throws a backend error with `hint` where there is none.
  SharedLibrary(const std::string& path, const char* variable, const std::vector<std::string>& usual_names,
                const std::string& hint);

  const std::string& name() const { return name_; }

  /// Return whether both are the same library in memory.
  bool operator==(const SharedLibrary& other) const { return handle_ == other.handle_; }

  void* handle() const { return handle_; }

  /// Return the address of a symbol, or null.
  void* symbol(const char* symbol_name) const;

 private:
  std::string name_;
  void* handle_ = nullptr;  // never closed: engines have threads, and data for the end of the process
};

}  // namespace eetool
