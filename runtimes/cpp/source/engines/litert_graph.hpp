// Graphs of LiteRT.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine.hpp"
#include "engines/litert.hpp"

namespace eetool::litert {

/// A TFLite file with one signature, compiled for the CPU. Only one call at a time runs it.
class LitertGraph : public Graph {
 public:
  LitertGraph(std::shared_ptr<const Library> library, const std::string& path, std::unique_ptr<AlignedBytes> bytes,
              Owned<Model> model, Owned<CompiledModel> compiled, Threads threads);

  const Named<eetool::Tensor>& inputs() const override { return inputs_; }
  const Named<eetool::Tensor>& outputs() const override { return outputs_; }
  Threads threads() const override { return threads_; }
  std::unique_ptr<BoundCall> bind(TensorBuffers& tensors) override;
  void run(TensorBuffers& tensors) override;

  /// Run on wrapped memory; throws a backend error.
  void run(std::vector<TensorBuffer*>& inputs, std::vector<TensorBuffer*>& outputs);

 private:
  Signature* only_signature(const std::string& failure) const;
  Named<eetool::Tensor> describe_side(Signature* signature, bool is_input, const std::string& failure) const;

  std::shared_ptr<const Library> library_;
  std::string failure_;  // beginning of messages about a failed call
  std::unique_ptr<AlignedBytes> bytes_;
  Owned<Model> model_;
  Owned<CompiledModel> compiled_;
  Threads threads_;
  Named<eetool::Tensor> inputs_, outputs_;
  std::mutex mutex_;
};

}  // namespace eetool::litert
