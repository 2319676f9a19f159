// The C interface with models whose predictions are scripted, so that tests in Python control confidences and time.
//
// The graph file of a component is text: how far it moves the clock in milliseconds, the number of predictions, and for an
// exit the confidence and logits of each. The first segment draws the predictions in turn; tensors pass their index on.
#include <sstream>

#include "../source/c_interface.cpp"
#include "declared_graph.hpp"

namespace eetool::test {
namespace {

std::atomic<std::int64_t> clock_now_ns{0};

std::int64_t scripted_clock() { return clock_now_ns; }

/// What one component does.
struct Script {
  std::int64_t duration_ns = 0;
  std::size_t predictions = 0;
  std::vector<float> values;  // of exits, per prediction: confidence, then logits
};

Script read_script(const Bytes& data) {
  std::istringstream text(std::string(data.begin(), data.end()));
  double milliseconds = 0;
  Script script;
  text >> milliseconds >> script.predictions;
  script.duration_ns = static_cast<std::int64_t>(milliseconds * 1e6);
  for (float value; text >> value;) script.values.push_back(value);
  return script;
}

class ScriptedEngine : public Engine {
 public:
  explicit ScriptedEngine(std::shared_ptr<const Bundle> bundle)
      : bundle_(std::move(bundle)),
        variant_(bundle_->manifest.variants[0].second),
        declared_(all_tensors(bundle_->manifest, variant_)) {}

  std::string name() const override { return "scripted"; }
  std::string version() const override { return "1"; }
  std::string library() const override { return "none"; }

  std::shared_ptr<Graph> open(const std::string& path, const Bytes& data, Threads) override {
    std::size_t position = 0;
    while (find(variant_.components, bundle_->manifest.components[position].name)->path != path) ++position;
    const auto compute = [this, position, script = read_script(data)](const Component& c, TensorBuffers& tensors) {
      clock_now_ns += script.duration_ns;
      if (c.outputs.size() == 1) {
        float& index = *tensors.at(c.outputs[0]).floats();
        index = position == 0 ? static_cast<float>(next_++ % script.predictions) : *tensors.at(c.inputs[0]).floats();
        return;
      }
      const std::size_t classes = tensors.at(c.outputs[0]).size_bytes / sizeof(float);
      const auto index = static_cast<std::size_t>(*tensors.at(c.inputs[0]).floats());
      const float* values = script.values.data() + index * (classes + 1);
      *tensors.at(c.outputs[1]).floats() = *values;
      std::copy_n(values + 1, classes, tensors.at(c.outputs[0]).floats());
    };
    return std::make_shared<DeclaredGraph>(bundle_->manifest.components[position], declared_, compute);
  }

 private:
  std::shared_ptr<const Bundle> bundle_;
  const Variant& variant_;
  std::map<std::string, Tensor> declared_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace
}  // namespace eetool::test

/// Open a bundle of scripted graphs; with `uses_clock`, only their durations move the time.
extern "C" EE_API ee_status ee_test_open_scripted(const char* path, int32_t uses_clock, ee_model** model,
                                                  ee_error** error) {
  return guarded(error, [&] {
    const auto bundle = open_bundle(path);
    auto engine = std::make_shared<test::ScriptedEngine>(bundle);
    const std::string& variant = bundle->manifest.variants[0].first;
    auto graphs = std::make_shared<LoadedGraphs>(bundle, variant, std::move(engine), Threads{}, true);
    const Clock clock = uses_clock != 0 ? test::scripted_clock : steady_clock_ns;
    *model = models().add(std::make_shared<Model>(bundle, variant, std::move(graphs), clock));
  });
}
