#include "scripted_model.hpp"

#include <cstdlib>
#include <fstream>

#include "sha256.hpp"

namespace eetool::test {

std::int64_t clock_now_ns = 0;

namespace {

constexpr int kExits = 3;

/// Input and output names of a component, as in the manifest below.
struct Wiring {
  std::string reads;
  std::vector<std::string> inputs, outputs;
};

Wiring wiring_of(const std::string& name, bool has_views) {
  const std::string k = name.substr(name.size() - 1);
  const std::string before = std::to_string(k[0] - '0' - 1);
  if (name.substr(0, 3) == "seg") {
    const std::string reads = k == "0" ? "input" : "features" + before;
    if (has_views && k == "1") return {reads, {reads, "view"}, {"features" + k}};
    return {reads, {reads}, {"features" + k}};
  }
  return {"features" + k, {"features" + k, name + "_temperature"}, {name + "_logits", name + "_confidence"}};
}

class ScriptedGraph : public Graph {
 public:
  ScriptedGraph(ScriptedEngine& engine, const std::string& name)
      : engine_(engine), name_(name), wiring_(wiring_of(name, engine.has_views_)) {
    for (const std::string& input : wiring_.inputs) {
      std::vector<Dimension> shape = {"batch", 1};
      if (input.find("temperature") != input.npos) shape = {};
      if (engine.has_views_ && input == "input") shape = {"batch", 1, 1, 1};
      if (input == "view") shape = {"batch", 1, 2, 2};
      inputs_.emplace_back(input, Tensor{"float32", shape});
    }
    for (const std::string& output : wiring_.outputs) {
      std::vector<Dimension> shape = {"batch"};
      if (output.find("confidence") == output.npos) shape.push_back(output.find("logits") == output.npos ? 1 : 2);
      outputs_.emplace_back(output, Tensor{"float32", shape});
    }
  }

  const Named<Tensor>& inputs() const override { return inputs_; }
  const Named<Tensor>& outputs() const override { return outputs_; }
  Threads threads() const override { return {}; }
  void run(TensorBuffers& tensors) override { compute(tensors); }
  std::unique_ptr<BoundCall> bind(TensorBuffers& tensors) override {
    struct Bound : BoundCall {
      Bound(ScriptedGraph& g, TensorBuffers& t) : graph(g), tensors(t) {}
      void run() override { graph.compute(tensors); }
      ScriptedGraph& graph;
      TensorBuffers& tensors;
    };
    return std::make_unique<Bound>(*this, tensors);
  }

 private:
  void compute(TensorBuffers& tensors) const {
    const auto duration = engine_.component_ms_.find(name_);
    if (duration != engine_.component_ms_.end()) clock_now_ns += static_cast<std::int64_t>(duration->second * 1e6);
    const float value = *tensors.at(wiring_.reads).floats();
    if (wiring_.outputs.size() == 1) {
      *tensors.at(wiring_.outputs[0]).floats() = value;
      return;
    }
    const auto exit = static_cast<float>(name_.back() - '0');
    float* logits = tensors.at(wiring_.outputs[0]).floats();
    logits[0] = 0, logits[1] = 1 + exit;
    *tensors.at(wiring_.outputs[1]).floats() = exit >= value ? 0.9F : 0.0F;
  }

  ScriptedEngine& engine_;
  std::string name_;
  Wiring wiring_;
  Named<Tensor> inputs_, outputs_;
};

std::string quote(const std::string& text) { return "\"" + text + "\""; }

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + quote(name);
  return "[" + text + "]";
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string file_record(const std::string& path, const std::string& content) {
  Sha256 digest;
  digest.update(content.data(), content.size());
  return quote(path) + R"(: {"sha256": ")" + digest.hex_digest() + R"(", "size_bytes": )" +
         std::to_string(content.size()) + "}";
}

}  // namespace

std::shared_ptr<Graph> ScriptedEngine::open(const std::string& path, const Bytes&, Threads) {
  const std::size_t start = path.find('/') + 1;
  return std::make_shared<ScriptedGraph>(*this, path.substr(start, path.find('.') - start));
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "eetool-XXXXXX").string();
  path = mkdtemp(name.data());
}

TemporaryFolder::~TemporaryFolder() { std::filesystem::remove_all(path); }

std::string write_bundle(const std::filesystem::path& folder, std::string (*edit)(std::string), bool has_views) {
  std::string components, graphs, exits, tensors, files = file_record("samples/inputs.npz", "");
  const std::filesystem::path root = folder / "scripted.eebundle";
  write(root / "samples/inputs.npz", "");
  for (int i = 0; i < 2 * kExits; ++i) {
    const bool is_exit = i % 2 == 1;
    const std::string k = std::to_string(i / 2), name = (is_exit ? "exit" : "seg") + k, comma = i == 0 ? "" : ", ";
    const std::string path = "components/" + name + ".fake";
    const Wiring wiring = wiring_of(name, has_views);
    write(root / path, name);
    components += comma + R"({"name": )" + quote(name) + R"(, "kind": )" + quote(is_exit ? "exit" : "segment") +
                  R"(, "inputs": )" + list(wiring.inputs) + R"(, "outputs": )" + list(wiring.outputs) +
                  R"(, "macs": )" + (is_exit ? "10000" : "1000000") + R"(, "parameters": 0})";
    graphs += comma + quote(name) + R"(: {"path": )" + quote(path) +
              R"(, "precision": "fp32", "max_abs_error": 0, "tolerance": null})";
    files += ", " + file_record(path, name);
    if (is_exit) {
      exits += (k == "0" ? "" : ", ") + (R"({"tap": null, "component": )" + quote(name)) + R"(, "logits": )" +
               quote(name + "_logits") + R"(, "confidence": )" + quote(name + "_confidence") + R"(, "temperature": )" +
               quote(name + "_temperature") + "}";
      tensors += ", " + quote(name + "_logits") + R"(: {"dtype": "float32", "shape": ["batch", 2]}, )" +
                 quote(name + "_confidence") + R"(: {"dtype": "float32", "shape": ["batch"]})";
    } else {
      tensors += comma + quote("features" + k) + R"(: {"dtype": "float32", "shape": ["batch", 1]})";
    }
  }
  const std::string rule =
      R"("preprocess": {"scale": 1, "mean": [0], "std": [1], "resize": {"fit": "stretch", "filter": "bilinear"}}, )"
      R"("picture": "photo"})";
  const std::string inputs =
      has_views ? R"({"name": "input", "dtype": "float32", "shape": ["batch", 1, 1, 1], )" + rule +
                      R"(, {"name": "view", "dtype": "float32", "shape": ["batch", 1, 2, 2], )" + rule
                : std::string(R"({"name": "input", "dtype": "float32", "shape": ["batch", 1]})");
  std::string manifest =
      R"({"schema_version": "1.0", "name": "scripted", "inputs": [)" + inputs +
      R"(], "labels": ["cat", "dog"], "tensors": {)" +
      tensors + R"(}, "exits": [)" + exits + R"(], "components": [)" + components +
      R"(], "variants": {"fake/fp32": {"components": {)" + graphs +
      R"(}, "temperatures": [1, 1, 1], "operating_points": {"balanced": {"thresholds": [0.8, 0.8]}, )"
      R"("full": {"thresholds": [null, null]}}, "samples": "samples/inputs.npz", "samples_tolerance": 0}}, )"
      R"("score": "scripted", "default_operating_point": "balanced", "samples": "samples/inputs.npz", )"
      R"("producer": {}, "files": {)" +
      files + "}}";
  write(root / "manifest.json", edit == nullptr ? manifest : edit(manifest));
  return root.string();
}

ScriptedModel::ScriptedModel(std::map<std::string, double> component_ms, bool preload, bool has_views)
    : engine(std::make_shared<ScriptedEngine>(std::move(component_ms), has_views)) {
  const auto bundle = open_bundle(write_bundle(folder.path, nullptr, has_views));
  auto graphs = std::make_shared<LoadedGraphs>(bundle, "fake/fp32", engine, Threads{}, preload);
  const Clock clock = engine->component_ms_.empty() ? steady_clock_ns : scripted_clock;
  model = std::make_shared<Model>(bundle, "fake/fp32", std::move(graphs), clock);
}

}  // namespace eetool::test
