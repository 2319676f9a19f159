// ONNX Runtime: sessions on the CPU, and its thread pools.
#pragma once

#include <memory>
#include <string>

#include "engine.hpp"
#include "engines/onnxruntime_api.hpp"
#include "engines/owned.hpp"
#include "engines/shared_library.hpp"
#include "fork_guard.hpp"

namespace eetool::ort {

/// The loaded library with its table of functions.
class Library {
 public:
  explicit Library(SharedLibrary library);

  const Api& api() const { return api_; }
  const std::string& version() const { return version_; }
  const SharedLibrary& file() const { return library_; }

  /// Throw a backend error where a call has failed; `what` is the beginning of its message.
  void check(Status* status, const std::string& what) const {
    if (status != nullptr) fail(status, what);
  }

 private:
  [[noreturn]] void fail(Status* status, const std::string& what) const;

  SharedLibrary library_;
  Api api_;
  std::string version_;
};

/// Engine for ONNX files.
class OnnxRuntime : public Engine {
 public:
  explicit OnnxRuntime(SharedLibrary library);

  /// Find the library, see `SharedLibrary`.
  static SharedLibrary find_library(const std::string& path);

  std::string name() const override { return "onnxruntime"; }
  std::string version() const override { return library_->version(); }
  std::string library() const override { return library_->file().name(); }
  std::shared_ptr<Graph> open(const std::string& path, const Bytes& data, Threads threads) override;

 private:
  /// Return whether a graph has to use the pool of the process, which the first model that asks for it creates.
  bool uses_process_pool(Threads threads);
  Owned<SessionOptions> session_options(Threads threads, bool shared) const;

  std::shared_ptr<const Library> library_;
  Env* env_ = nullptr;  // never freed: its threads would have to end before those of the application
  std::int64_t pool_threads_ = 0;
  std::unique_ptr<ForkGuard> pool_guard_;
  std::mutex mutex_;
};

}  // namespace eetool::ort
