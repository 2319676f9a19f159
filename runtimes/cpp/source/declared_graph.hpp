// Graphs without an engine, with the inputs and outputs that a manifest declares.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "engine.hpp"

namespace eetool {

/// A graph of a component whose outputs a function fills. Several threads may run it where the function allows that.
class DeclaredGraph : public Graph {
 public:
  using Compute = std::function<void(const Component&, TensorBuffers&)>;

  DeclaredGraph(const Component& component, const std::map<std::string, Tensor>& declared, Compute compute)
      : component_(component), compute_(std::move(compute)) {
    for (const std::string& name : component.inputs) inputs_.emplace_back(name, declared.at(name));
    for (const std::string& name : component.outputs) outputs_.emplace_back(name, declared.at(name));
  }

  const Named<Tensor>& inputs() const override { return inputs_; }
  const Named<Tensor>& outputs() const override { return outputs_; }
  Threads threads() const override { return {}; }

  void run(TensorBuffers& tensors) override {
    for (const auto& [name, declared] : outputs_) {
      bool is_fixed = false;
      auto shape = fixed_shape(declared, is_fixed);
      const std::size_t size_bytes = total_bytes(declared.dtype, shape);
      tensors.at(name).reshape(std::move(shape), size_bytes);
    }
    compute_(component_, tensors);
  }

  std::unique_ptr<BoundCall> bind(TensorBuffers& tensors) override {
    struct Bound : BoundCall {
      Bound(DeclaredGraph& g, TensorBuffers& t) : graph(g), tensors(t) {}
      void run() override { graph.run(tensors); }
      DeclaredGraph& graph;
      TensorBuffers& tensors;
    };
    return std::make_unique<Bound>(*this, tensors);
  }

 private:
  const Component& component_;
  Compute compute_;
  Named<Tensor> inputs_, outputs_;
};

}  // namespace eetool
