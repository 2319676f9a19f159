#include "fork_guard.hpp"

#include <pthread.h>

#include <atomic>
#include <string>

#include "error.hpp"

namespace eetool {
namespace {

/// State of the process; it is never destroyed, because threads may outlive the end of `main`.
struct Process {
  std::mutex engines;
  std::mutex handles;
  std::atomic<std::uint32_t> generation{0};  // number of forks between the first process and this one
};

void before_fork();
void after_in_parent();
void after_in_child();

Process& process() {
  static Process* const instance = [] {
    auto* made = new Process;
    pthread_atfork(before_fork, after_in_parent, after_in_child);
    return made;
  }();
  return *instance;
}

void before_fork() {
  process().engines.lock();
  process().handles.lock();
}

void after_in_parent() {
  process().handles.unlock();
  process().engines.unlock();
}

void after_in_child() {
  process().generation.fetch_add(1, std::memory_order_relaxed);
  after_in_parent();
}

}  // namespace

ForkGuard::ForkGuard() : generation_(process().generation.load(std::memory_order_relaxed)) {}

bool ForkGuard::is_foreign() const { return process().generation.load(std::memory_order_relaxed) != generation_; }

void ForkGuard::check(const char* what) const {
  if (is_foreign()) {
    throw backend_error(std::string(what) + " before this process was forked; a forked child cannot use it",
                        "Load it in every worker, after the fork.");
  }
}

std::mutex& engines_mutex() { return process().engines; }
std::mutex& handles_mutex() { return process().handles; }

}  // namespace eetool
