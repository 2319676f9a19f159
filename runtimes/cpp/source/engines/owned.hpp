// Ownership of objects of a C library.
#pragma once

#include <memory>

namespace eetool {

/// Call of the function that frees objects of a kind.
template <typename Object>
struct Freeing {
  void (*free)(Object*);
  void operator()(Object* object) const { free(object); }
};
template <typename Object>
using Owned = std::unique_ptr<Object, Freeing<Object>>;

}  // namespace eetool
