// LiteRT: compiled models on the CPU.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "engine.hpp"
#include "engines/litert_api.hpp"
#include "engines/owned.hpp"
#include "engines/shared_library.hpp"

namespace eetool::litert {

/// The loaded library with its functions.
class Library {
 public:
  explicit Library(SharedLibrary library);

  const Api& api() const { return api_; }
  const std::string& version() const { return version_; }
  const SharedLibrary& file() const { return library_; }

  /// Throw a backend error where a call has failed; `what` is the beginning of its message.
  void check(int status, const std::string& what) const {
    if (status != kOk) fail(status, what);
  }

 private:
  [[noreturn]] static void fail(int status, const std::string& what);

  SharedLibrary library_;
  Api api_;
  std::string version_;
};

class CompiledFile;

/// Engine for TFLite files.
class LiteRt : public Engine {
 public:
  explicit LiteRt(SharedLibrary library);

  /// Find the library, see `SharedLibrary`.
  static SharedLibrary find_library(const std::string& path);

  std::string name() const override { return "ai-edge-litert"; }
  std::string version() const override { return library_->version(); }
  std::string library() const override { return library_->file().name(); }
  std::shared_ptr<Graph> open(const std::string& path, const Bytes& data, Threads threads) override;
  Named<std::shared_ptr<Graph>> open_shared(const std::string& path, const Bytes& data, Threads threads) override;

 private:
  std::shared_ptr<CompiledFile> compile(const std::string& path, const Bytes& data, Threads threads);
  Environment* environment();
  Owned<Options> options(std::int64_t thread_count) const;

  std::shared_ptr<const Library> library_;
  std::mutex mutex_;
  Environment* environment_ = nullptr;  // never freed: graphs may outlive the end of `main`
};

}  // namespace eetool::litert
