// Forks: a child has the memory of its parent, but not its threads, and locks of other threads stay locked there.
#pragma once

#include <cstdint>
#include <mutex>

namespace eetool {

/// Note of the process that made it.
class ForkGuard {
 public:
  ForkGuard();

  /// Return whether this is a child forked later.
  bool is_foreign() const;

  /// Throw a backend error in such a child; `what` was done before the fork.
  void check(const char* what = "this model was loaded") const;

 private:
  std::uint32_t generation_;
};

/// Mutexes of the process, which are never locked in a new child.
std::mutex& engines_mutex();
std::mutex& handles_mutex();

}  // namespace eetool
