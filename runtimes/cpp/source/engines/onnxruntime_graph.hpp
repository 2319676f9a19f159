// Graphs of ONNX Runtime.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine.hpp"
#include "engines/onnxruntime.hpp"

namespace eetool::ort {

/// An ONNX file in its own session of the library.
class OnnxGraph : public Graph {
 public:
  OnnxGraph(std::shared_ptr<const Library> library, std::string path, Owned<Session> session, Threads threads);

  const Named<Tensor>& inputs() const override { return inputs_; }
  const Named<Tensor>& outputs() const override { return outputs_; }
  Threads threads() const override { return threads_; }
  std::unique_ptr<BoundCall> bind(TensorBuffers& tensors) override;
  void run(TensorBuffers& tensors) override;

 private:
  Named<Tensor> describe_side(bool is_input) const;
  Tensor describe_type(const TypeInfo* type) const;
  Owned<Value> wrap(const TensorBuffer& tensor) const;
  void copy_output(Value* value, TensorBuffer& tensor) const;

  std::shared_ptr<const Library> library_;
  std::string failure_;  // beginning of messages about a failed call
  Owned<MemoryInfo> memory_;
  Owned<Session> session_;
  Owned<RunOptions> run_options_;
  Threads threads_;
  Named<Tensor> inputs_, outputs_;
};

}  // namespace eetool::ort
