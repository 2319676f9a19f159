// Handles: what the caller of the C interface holds in place of addresses.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "error.hpp"
#include "fork_guard.hpp"

namespace eetool {

/// Objects by handle. A handle is never used twice, so one that was closed is recognised.
template <typename Handle, typename Object>
class Handles {
 public:
  explicit Handles(const char* kind) : kind_(kind) {}

  Handle* add(std::shared_ptr<Object> object) {
    const std::lock_guard lock(handles_mutex());
    const std::uintptr_t number = next_ += 16;  // looks like an address, and is none
    objects_.emplace(number, std::move(object));
    return reinterpret_cast<Handle*>(number);
  }

  /// Return the object, which lives at least as long as the result; throws a usage error for NULL or a closed one.
  std::shared_ptr<Object> get(const Handle* handle) const {
    if (handle == nullptr) throw usage_error(std::string("the ") + kind_ + " is NULL");
    const std::lock_guard lock(handles_mutex());
    const auto found = objects_.find(reinterpret_cast<std::uintptr_t>(handle));
    if (found == objects_.end()) throw usage_error(std::string("the ") + kind_ + " was closed, or is none");
    return found->second;
  }

  /// Forget the object and return it, or null.
  std::shared_ptr<Object> remove(const Handle* handle) {
    const std::lock_guard lock(handles_mutex());
    const auto found = objects_.find(reinterpret_cast<std::uintptr_t>(handle));
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<Object> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

 private:
  const char* kind_;
  std::uintptr_t next_ = 0;
  std::unordered_map<std::uintptr_t, std::shared_ptr<Object>> objects_;
};

}  // namespace eetool
