// Interface of an engine, which opens graph files and runs them on tensors by name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bundle.hpp"
#include "manifest.hpp"
#include "tensor_buffer.hpp"

namespace eetool {

/// Where the threads of a graph come from: a pool for each graph, or one for all graphs of the process.
enum class Pool { per_graph, per_process };

struct Threads {
  std::int64_t count = 1;
  Pool pool = Pool::per_graph;
};

inline constexpr std::int64_t kMaxThreads = 1024;  // as in a manifest

/// A graph bound to tensors. One thread at a time may use it; bound calls are independent of each other.
class BoundCall {
 public:
  virtual ~BoundCall() = default;

  /// Read the current inputs and write the outputs; throws a backend error.
  virtual void run() = 0;
};

/// One opened graph. Several threads may use it at once. `threads` may differ from the requested ones.
class Graph {
 public:
  virtual ~Graph() = default;

  virtual const Named<Tensor>& inputs() const = 0;
  virtual const Named<Tensor>& outputs() const = 0;
  virtual Threads threads() const = 0;

  /// Bind to tensors of fixed sizes, which have to outlive the result. A call then allocates nothing of its own.
  virtual std::unique_ptr<BoundCall> bind(TensorBuffers& tensors) = 0;

  /// Run on tensors of any size; the outputs get new shapes, and new memory where they need it.
  virtual void run(TensorBuffers& tensors) = 0;
};

/// A library that runs graphs of one format.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual std::string name() const = 0;
  virtual std::string version() const = 0;
  virtual std::string library() const = 0;

  /// Open a graph; throws a backend error. `path` is for messages.
  virtual std::shared_ptr<Graph> open(const std::string& path, const Bytes& data, Threads threads) = 0;

  /// Open a file that holds several graphs, by their names, which share a pool of threads; throws as `open`.
  ///
  /// Only engines of formats with such files have it: TFLite.
  virtual Named<std::shared_ptr<Graph>> open_shared(const std::string& path, const Bytes& data, Threads threads);
};

/// Return the engine for a graph format, which is loaded once per process and library.
///
/// `library` is the path of its shared library, or empty: then an environment variable or the usual name counts.
/// Throws a usage error for an unknown format, and a backend error where the library is missing or not suitable.
std::shared_ptr<Engine> engine_for(const std::string& format, const std::string& library);

}  // namespace eetool
