// The graphs of a model, opened at once or when an input first needs them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "engine.hpp"

namespace eetool {

/// The graphs of one variant, in the order of the components.
class LoadedGraphs {
 public:
  /// Open the graphs; without `preload`, only those up to the first exit, unless one file holds all.
  ///
  /// Throws a bundle error where a graph does not match the manifest, and a backend error where it cannot be opened.
  LoadedGraphs(std::shared_ptr<const Bundle> bundle, const std::string& variant, std::shared_ptr<Engine> engine,
               Threads threads, bool preload);

  /// Take opened graphs of the only variant, one per component.
  LoadedGraphs(std::shared_ptr<const Bundle> bundle, std::shared_ptr<Engine> engine,
               std::vector<std::shared_ptr<Graph>> graphs);

  /// Return the graph of a component, and open it where that was not done; throws as the constructor.
  Graph& graph(std::size_t position);

  /// Return the names of the components whose graphs are not open.
  std::vector<std::string> not_loaded() const;

  Threads threads() const { return threads_; }
  const Engine& engine() const { return *engine_; }

 private:
  std::shared_ptr<Graph> open(std::size_t position) const;
  void open_shared(const std::string& path);
  void check(const Component& component, const Graph& graph) const;

  std::shared_ptr<const Bundle> bundle_;
  const Variant& variant_;
  std::shared_ptr<Engine> engine_;
  Threads threads_;  // those of the first graph are the model's
  std::map<std::string, Tensor> declared_;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Graph>> graphs_;
};

}  // namespace eetool
