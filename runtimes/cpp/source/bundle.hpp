// Bundle directories; every byte is checked against the manifest before any graph is loaded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "manifest.hpp"

namespace eetool {

using Bytes = std::vector<unsigned char>;

/// A bundle directory and its manifest.
struct Bundle {
  std::string path;
  std::string name;  // of the directory, for messages
  Manifest manifest;

  /// Return the variant `key`; throws a usage error with the known names.
  const Variant& variant(const std::string& key) const;

  /// Read a file, and check its size and hash again; throws a bundle error.
  Bytes read(const std::string& relative) const;
};

/// Read and check the bundle at `path`; throws a bundle error.
std::shared_ptr<const Bundle> open_bundle(const std::string& path);

}  // namespace eetool
