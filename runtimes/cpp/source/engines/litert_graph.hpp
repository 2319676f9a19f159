// Graphs of LiteRT.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine.hpp"
#include "engines/litert.hpp"

namespace eetool::litert {

/// A TFLite file, compiled for the CPU with one pool of threads. Only one call at a time runs a graph of it.
class CompiledFile {
 public:
  CompiledFile(std::shared_ptr<const Library> library, const std::string& path, std::unique_ptr<AlignedBytes> bytes,
               Owned<Model> model, Owned<CompiledModel> compiled, Threads threads);

  const std::shared_ptr<const Library>& library() const { return library_; }
  const std::string& loading_failure() const { return loading_failure_; }
  const std::string& running_failure() const { return running_failure_; }
  Threads threads() const { return threads_; }
  std::size_t signature_count() const;
  Signature* signature(std::size_t index) const;
  std::string signature_key(std::size_t index) const;

  /// Run a signature on wrapped memory; throws a backend error.
  void run(std::size_t signature, std::vector<TensorBuffer*>& inputs, std::vector<TensorBuffer*>& outputs);

 private:
  std::shared_ptr<const Library> library_;
  std::string loading_failure_, running_failure_;  // beginnings of messages about a failed call
  std::unique_ptr<AlignedBytes> bytes_;
  Owned<Model> model_;
  Owned<CompiledModel> compiled_;
  Threads threads_;
  std::mutex mutex_;
};

/// One signature of a TFLite file.
class LitertGraph : public Graph {
 public:
  LitertGraph(std::shared_ptr<CompiledFile> file, std::size_t signature);

  const Named<eetool::Tensor>& inputs() const override { return inputs_; }
  const Named<eetool::Tensor>& outputs() const override { return outputs_; }
  Threads threads() const override { return file_->threads(); }
  std::unique_ptr<BoundCall> bind(TensorBuffers& tensors) override;
  void run(TensorBuffers& tensors) override;

 private:
  Named<eetool::Tensor> describe_side(bool is_input) const;

  std::shared_ptr<CompiledFile> file_;
  std::size_t signature_;
  Named<eetool::Tensor> inputs_, outputs_;
};

}  // namespace eetool::litert
