// Calls of a model: the tensors of one call at a time, and the components run in order until the first gate fires.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model.hpp"
#include "model_input.hpp"

namespace eetool {

/// How one call runs. Without a deadline, it runs until a gate fires.
struct CallOptions {
  std::optional<double> deadline_ms;  // from the beginning of the call
  int min_exit = 0;                   // earliest exit to leave at; negative ones count from the end
};

/// Prediction for one input. `logits` belong to the session and last until its next call.
struct Prediction {
  int exit;
  double confidence;
  const float* logits;
  double temperature;
  std::uint64_t macs;
  double latency_ms;
  bool gated;
  bool overrun;

  /// Return the index of the largest logit, the first if there are several.
  std::size_t class_index(std::size_t classes) const;
};

/// Inputs, tensors and bound graphs of a model for one caller at a time.
class Session {
 public:
  explicit Session(std::shared_ptr<Model> model);

  Model& model() const { return *model_; }

  /// Return the input of a name, or the only one for an empty name; throws an input error.
  ModelInput& input(const char* name);

  /// Return the input of a name; without a name all inputs that are views of one picture, or the only one.
  std::vector<ModelInput*> inputs_of_picture(const char* name);

  /// Set inputs from one image; throws an input error. The first is made now, others when a component reads them: for
  /// these the pixels are copied.
  void set_picture(const std::vector<ModelInput*>& inputs, const GivenImage& image);

  /// Return a copy of a float tensor.
  std::vector<float> values(const std::string& name) const {
    const TensorBuffer& tensor = tensors_.at(name);
    return {tensor.floats(), tensor.floats() + tensor.size_bytes / sizeof(float)};
  }

  /// Run the inputs that are set; throws every kind of error but a bundle error, or that too with lazy loading.
  Prediction run(const CallOptions& options);

 private:
  struct Outcome {
    Gate gate{};
    double confidence = 0;
    std::uint64_t macs = 0;
    bool gated = true;
  };

  void run_component(std::size_t position) {
    if (!calls_[position]) bind(position);
    for (ModelInput* view : views_[position]) view->make();
    calls_[position]->run();
  }
  void bind(std::size_t position);
  double run_section(const PlanSection& section);
  Outcome run_plain();
  Outcome run_guarded(const CallOptions& options, std::int64_t start);
  double confidence(int exit) const { return *confidences_[static_cast<std::size_t>(exit)]->floats(); }
  void see(int exit, double confidence) { seen_[seen_count_++] = {exit, confidence}; }

  std::shared_ptr<Model> model_;
  TensorBuffers tensors_;
  bool is_fixed_ = true;  // every size is in the manifest
  std::vector<ModelInput> inputs_;
  std::vector<std::unique_ptr<BoundCall>> calls_;    // by position of the component
  std::vector<std::vector<ModelInput*>> views_;      // that each component reads, from the second view on
  std::vector<std::uint8_t> picture_;                // copy of the pixels that views are made of
  std::vector<TensorBuffer*> confidences_, logits_;  // by exit
  std::vector<SeenConfidence> seen_;
  std::size_t seen_count_ = 0;
  std::shared_ptr<const ExecutionPlan> plan_;
  std::uint64_t plan_version_ = 0;
};

}  // namespace eetool
