#include "engines/onnxruntime.hpp"

#include <cstdio>

#include "engines/onnxruntime_graph.hpp"
#include "error.hpp"
#include "side_files.hpp"
#include "text.hpp"

namespace eetool::ort {
namespace {

constexpr const char* kHint =
    "Install it, for example with `pip install onnxruntime` or Debian's libonnxruntime, and give the path of "
    "libonnxruntime.so in the options or in EETOOL_ONNXRUNTIME.";
constexpr int kOldestMinor = 14;  // of version 1: the first that loads the graphs of a bundle

bool is_suitable(const std::string& version) {
  int major = 0, minor = 0;
  return std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2 && major == 1 && minor >= kOldestMinor;
}

}  // namespace

bool Api::load(const void* table) {
  const auto* entries = static_cast<const void* const*>(table);
  const auto load_all = [entries](auto&... entry) { return (entry.load(entries) && ...); };
  return load_all(error_message, create_env, create_session, run, create_session_options, set_execution_mode,
                  set_intra_threads, set_inter_threads, input_count, output_count, input_type, output_type, input_name,
                  output_name, create_run_options, create_tensor, tensor_data, tensor_info, element_type, rank, sizes,
                  symbols, value_info, create_memory_info, free, default_allocator) &&
         load_all(release_env, release_status, release_memory_info, release_session, release_value, release_run_options,
                  release_type_info, release_tensor_info, release_session_options, create_env_with_pool,
                  use_pool_of_env, create_threading_options, release_threading_options, add_session_config,
                  run_with_binding, create_binding, release_binding, bind_input, bind_output, set_pool_intra_threads,
                  set_pool_inter_threads);
}

SharedLibrary OnnxRuntime::find_library(const std::string& path) {
  return SharedLibrary(path, "EETOOL_ONNXRUNTIME", {"libonnxruntime.so.1", "libonnxruntime.so"}, kHint);
}

Library::Library(SharedLibrary library) : library_(std::move(library)) {
  const std::string name = printable(library_.name());
  const auto get_base = reinterpret_cast<GetApiBase>(library_.symbol("OrtGetApiBase"));
  const ApiBase* base = get_base == nullptr ? nullptr : get_base();
  if (base == nullptr || base->get_api == nullptr || base->get_version == nullptr) {
    throw backend_error(name + " is not ONNX Runtime: it has no function OrtGetApiBase", kHint);
  }
  const char* version = base->get_version();
  version_ = printable(version == nullptr ? "" : version, 40);
  if (!is_suitable(version_)) {
    throw backend_error(name + " is onnxruntime " + version_ + "; 1.14 or a later 1.x is needed", kHint);
  }
  const void* table = base->get_api(kApiVersion);
  if (table == nullptr || !api_.load(table)) {
    throw backend_error(name + ": onnxruntime " + version_ + " does not offer version 14 of its C API", kHint);
  }
}

void Library::fail(Status* status, const std::string& what) const {
  const std::string reason = printable(api_.error_message(status));
  api_.release_status(status);
  throw backend_error(what + ": " + reason);
}

OnnxRuntime::OnnxRuntime(SharedLibrary library) : library_(std::make_shared<const Library>(std::move(library))) {}

bool OnnxRuntime::uses_process_pool(Threads threads) {
  const Api& api = library_->api();
  const std::lock_guard lock(mutex_);
  if (pool_guard_) pool_guard_->check("onnxruntime's pool of the process was created");
  const std::string failure = "onnxruntime " + version() + " cannot start";
  const bool wants_pool = threads.pool == Pool::per_process && threads.count > 1;
  if (env_ == nullptr && wants_pool) {
    ThreadingOptions* options = nullptr;
    library_->check(api.create_threading_options(&options), failure);
    const Owned<ThreadingOptions> freed(options, {api.release_threading_options.function});
    library_->check(api.set_pool_intra_threads(options, static_cast<int>(threads.count)), failure);
    library_->check(api.set_pool_inter_threads(options, 1), failure);
    library_->check(api.create_env_with_pool(kFatal, "eetool", options, &env_), failure);
    pool_threads_ = threads.count;
    pool_guard_ = std::make_unique<ForkGuard>();
  } else if (env_ == nullptr) {
    library_->check(api.create_env(kFatal, "eetool", &env_), failure);
  } else if (wants_pool && pool_threads_ == 0) {
    throw backend_error("this process began with private pools, so onnxruntime cannot create one for all graphs",
                        "Open the models with the pool of the process first, or all models with private pools.");
  }
  if (pool_threads_ != 0 && pool_threads_ != threads.count) {
    throw backend_error(
        "this process has one pool of " + std::to_string(pool_threads_) + " threads, so " +
            std::to_string(threads.count) + " cannot be used",
        "Load every model of the process with the same thread count, or use private pools from the start.");
  }
  return pool_threads_ != 0;
}

Owned<SessionOptions> OnnxRuntime::session_options(Threads threads, bool shared) const {
  const Api& api = library_->api();
  const std::string failure = "onnxruntime " + version() + " refuses its options";
  SessionOptions* made = nullptr;
  library_->check(api.create_session_options(&made), failure);
  Owned<SessionOptions> options(made, {api.release_session_options.function});
  library_->check(api.set_inter_threads(made, 1), failure);
  library_->check(api.set_execution_mode(made, kSequential), failure);
  if (shared) {
    library_->check(api.use_pool_of_env(made), failure);
  } else {
    library_->check(api.set_intra_threads(made, static_cast<int>(threads.count)), failure);
    // A spinning pool per graph makes the graphs of one cascade fight for the cores (onnxruntime #17011).
    library_->check(api.add_session_config(made, "session.intra_op.allow_spinning", "0"), failure);
  }
  return options;
}

std::shared_ptr<Graph> OnnxRuntime::open(const std::string& path, const Bytes& data, Threads threads) {
  const bool shared = uses_process_pool(threads);
  const Owned<SessionOptions> options = session_options(threads, shared);
  refuse_onnx_side_files(path, data);
  const Api& api = library_->api();
  Session* session = nullptr;
  library_->check(api.create_session(env_, data.data(), data.size(), options.get(), &session),
                  path + ": onnxruntime " + version() + " cannot load this graph");
  Owned<Session> owned(session, {api.release_session.function});
  const Threads granted{threads.count, shared ? Pool::per_process : Pool::per_graph};
  return std::make_shared<OnnxGraph>(library_, path, std::move(owned), granted);
}

}  // namespace eetool::ort
