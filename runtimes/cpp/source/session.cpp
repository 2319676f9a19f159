#include "session.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr double kMaxDeadlineNs = 1e18;  // 30 years

/// A graph whose tensors have sizes that depend on the input, so that every call allocates.
class AllocatingCall : public BoundCall {
 public:
  AllocatingCall(Graph& graph, const Component& component, TensorBuffers& tensors)
      : graph_(graph), component_(component), tensors_(tensors) {}

  void run() override {
    graph_.run(tensors_);
    for (const std::string& name : component_.outputs) check(name, tensors_.at(name));
  }

 private:
  /// Refuse an output whose shape is not the declared one at batch 1; other symbols match every size.
  static void check(const std::string& name, const TensorBuffer& tensor) {
    const auto& declared = tensor.declared.shape;
    bool matches = tensor.shape.size() == declared.size();
    for (std::size_t i = 0; matches && i < declared.size(); ++i) {
      const auto* size = std::get_if<std::int64_t>(&declared[i]);
      const bool is_batch = size == nullptr && std::get<std::string>(declared[i]) == kBatch;
      if (size != nullptr || is_batch) matches = tensor.shape[i] == (is_batch ? 1 : *size);
    }
    if (!matches) {
      throw backend_error(in_quotes(name) + " is " + describe(tensor.declared.dtype, tensor.shape) + ", not " +
                          describe(tensor.declared));
    }
  }

  Graph& graph_;
  const Component& component_;
  TensorBuffers& tensors_;
};

}  // namespace

std::size_t Prediction::class_index(std::size_t classes) const {
  std::size_t best = 0;
  for (std::size_t i = 0; i < classes; ++i) {
    if (std::isnan(logits[i])) return i;  // as numpy's argmax
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

Session::Session(std::shared_ptr<Model> model) : model_(std::move(model)) {
  const Manifest& m = model_->manifest();
  for (auto& [name, declared] : all_tensors(m, model_->variant())) {
    TensorBuffer& buffer = tensors_[name];
    bool is_fixed = false;
    std::vector<std::int64_t> shape = fixed_shape(declared, is_fixed);
    is_fixed_ &= is_fixed;
    buffer.declared = declared;
    const std::size_t size_bytes = total_bytes(declared.dtype, shape);
    buffer.reshape(std::move(shape), size_bytes);
  }
  for (const auto& [name, value] : scalars(m, model_->variant()))
    *tensors_.at(name).floats() = static_cast<float>(value);
  for (const Input& input : m.inputs) inputs_.emplace_back(input, tensors_.at(input.name));
  for (const Exit& exit : m.exits) {
    confidences_.push_back(&tensors_.at(exit.confidence));
    logits_.push_back(&tensors_.at(exit.logits));
  }
  calls_.resize(m.components.size());
  views_.resize(m.components.size());
  for (std::size_t i = 0; i < m.components.size(); ++i) {
    const auto& read = m.components[i].inputs;
    for (ModelInput& later : inputs_) {
      const bool is_view = &later != inputs_.data() && later.spec().picture;
      if (is_view && std::find(read.begin(), read.end(), later.spec().name) != read.end()) views_[i].push_back(&later);
    }
  }
  seen_.resize(m.exits.size());
}

ModelInput& Session::input(const char* name) {
  if (name == nullptr && inputs_.size() == 1) return inputs_[0];
  std::vector<std::string> known;
  for (ModelInput& input : inputs_) {
    if (name != nullptr && input.spec().name == name) return input;
    known.push_back(input.spec().name);
  }
  throw input_error(name == nullptr
                        ? "the model has " + std::to_string(known.size()) + " inputs; name one of " + join(known)
                        : "there is no input " + in_quotes(name) + "; expected " + join(known));
}

std::vector<ModelInput*> Session::inputs_of_picture(const char* name) {
  const auto& picture = inputs_[0].spec().picture;
  const bool are_views = picture && std::all_of(inputs_.begin(), inputs_.end(), [&](const ModelInput& input) {
    return input.spec().picture == picture;
  });
  if (name != nullptr || !are_views) return {&input(name)};
  std::vector<ModelInput*> views;
  for (ModelInput& input : inputs_) views.push_back(&input);
  return views;
}

void Session::set_picture(const std::vector<ModelInput*>& inputs, const GivenImage& image) {
  inputs[0]->set(image);
  if (inputs.size() == 1) return;
  const auto rows = static_cast<std::size_t>(image.height);
  const std::size_t row_pixels = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.channels);
  const std::size_t row_bytes = image.row_bytes == 0 ? row_pixels : image.row_bytes;
  picture_.resize(rows * row_pixels);  // checked: at most the bytes that the caller has
  for (std::size_t y = 0; y < rows; ++y) {
    std::memcpy(picture_.data() + y * row_pixels, image.pixels + y * row_bytes, row_pixels);
  }
  const GivenImage kept{picture_.data(), picture_.size(), image.height, image.width, image.channels, 0};
  for (std::size_t i = 1; i < inputs.size(); ++i) inputs[i]->set_later(kept);
}

void Session::bind(std::size_t position) {
  Graph& graph = model_->graphs().graph(position);
  if (is_fixed_) {
    calls_[position] = graph.bind(tensors_);
  } else {
    calls_[position] = std::make_unique<AllocatingCall>(graph, model_->manifest().components[position], tensors_);
  }
}

Prediction Session::run(const CallOptions& options) {
  const Clock clock = model_->clock();
  const std::int64_t start = clock();
  if (model_->is_closed()) throw usage_error("the model was closed", "Open it again, and make a new session.");
  model_->check_process();
  for (const ModelInput& input : inputs_) {
    if (!input.is_given()) {
      throw input_error("input " + in_quotes(input.spec().name) + " is not set, or its last value was refused");
    }
  }
  if (!is_fixed_) check_symbols(inputs_, tensors_);
  model_->update(plan_, plan_version_);
  seen_count_ = 0;
  const bool is_plain = !options.deadline_ms && options.min_exit == 0 && !plan_->watch();
  const Outcome outcome = is_plain ? run_plain() : run_guarded(options, start);
  const auto index = static_cast<std::size_t>(outcome.gate.exit);
  const double latency_ms = static_cast<double>(clock() - start) / 1e6;
  const bool overrun = options.deadline_ms && latency_ms > *options.deadline_ms;
  plan_->stats().record({outcome.gate.exit, outcome.confidence, outcome.macs, latency_ms, seen_.data(), seen_count_,
                         outcome.gated, overrun});
  return {outcome.gate.exit,
          outcome.confidence,
          logits_[index]->floats(),
          model_->variant().temperatures[index],
          outcome.macs,
          latency_ms,
          outcome.gated,
          overrun};
}

Session::Outcome Session::run_plain() {
  Outcome outcome;
  for (const PlanStep& step : plan_->steps()) {
    run_component(step.position);
    if (!step.gate) continue;
    outcome.gate = *step.gate;
    outcome.confidence = confidence(step.gate->exit);
    outcome.macs = step.macs;
    see(step.gate->exit, outcome.confidence);
    if (outcome.confidence >= step.gate->threshold) break;
  }
  return outcome;  // the last step is the final exit: the input leaves there whatever its confidence, even NaN
}

double Session::run_section(const PlanSection& section) {
  for (const PlanStep& step : section.steps) run_component(step.position);
  return confidence(section.gate.exit);
}

/// Run a call under a deadline, a minimum exit or a watchdog.
Session::Outcome Session::run_guarded(const CallOptions& options, std::int64_t start) {
  std::optional<std::int64_t> end;
  if (options.deadline_ms) {
    if (!(*options.deadline_ms > 0) || std::isinf(*options.deadline_ms)) {
      throw usage_error("deadline_ms must be a positive number, not " + number_text(*options.deadline_ms));
    }
    end = start + std::llround(std::min(*options.deadline_ms * 1e6, kMaxDeadlineNs));
  }
  const PlanSections& sections = plan_->sections(options.min_exit, end.has_value());
  const auto& watch = plan_->watch();
  LatencyEstimator& latency = model_->latency();
  std::optional<Outcome> outcome;
  bool fired = false, alarmed = false;
  std::int64_t mark = start;
  for (const PlanSection& section : sections) {
    if (end && outcome && !latency.fits(section, *end - mark, mark - start, outcome->macs)) {
      outcome->gated = false;
      break;
    }
    const double value = run_section(section);
    if (end) {
      const std::int64_t now = model_->clock()();
      latency.record(section, now - mark);
      mark = now;
    }
    // After an alarm or a skipped gate, the inputs that arrive differ from those of the bundle's figures.
    if (options.min_exit == 0 && !fired && (!watch || !outcome)) see(section.gate.exit, value);
    outcome = Outcome{section.gate, value, (outcome ? outcome->macs : 0) + section.macs, true};
    fired = fired || value >= section.gate.threshold;
    const bool is_final = section.gate.exit == sections.back().gate.exit;
    if (!is_final && watch && watch->low <= value && value <= watch->high) {
      alarmed = true;
      if (!end) {
        // The rest of a call that cannot end early any more, without the exits on the way.
        const PlanSection& rest = plan_->remaining_section(section.gate.exit);
        return {rest.gate, run_section(rest), outcome->macs + rest.macs, true};
      }
    }
    if (fired && !alarmed) break;
  }
  return *outcome;  // the first section always runs
}

}  // namespace eetool
