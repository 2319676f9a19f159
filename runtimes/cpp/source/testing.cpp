// Models with scripted answers behind the C interface, for tests of apps.
//
// The first segment draws the next answer of the script; tensors pass its index on to the exits.
#include <dlfcn.h>

#include "c_interface.cpp"  // its tables of objects are in no other file
#include "declared_graph.hpp"
#include "eetool_testing.h"
#include "manifest_checks.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr const char* kVariant = "fake/fp32";
constexpr std::int64_t kMacs = 1'000'000;  // of every segment; exits have a hundredth
constexpr float kLogit = 5;                // of the label; the others have 0
constexpr double kMaxMs = 1e9;
constexpr std::int32_t kMaxEarlyExits = 100;
constexpr std::size_t kMaxAnswers = 1 << 24;  // the indices that float32 holds

thread_local std::int64_t clock_now_ns = 0;  // a call runs in one thread, so that calls do not move each other's time

std::int64_t scripted_clock() { return clock_now_ns; }

struct Answer {
  std::size_t label;
  std::size_t exit;
  float confidence;
  std::int64_t section_ns;
};

/// The answers, and which is next.
struct Script {
  std::vector<Answer> answers;
  std::atomic<std::size_t> drawn{0};
};

/// What `LoadedGraphs` names as its engine; the graphs are made beforehand.
class ScriptedEngine : public Engine {
 public:
  std::string name() const override { return "scripted"; }
  std::string version() const override { return "1"; }
  std::string library() const override { return "none"; }
  std::shared_ptr<Graph> open(const std::string& path, const Bytes&, Threads) override {
    throw backend_error(path + ": a scripted model opens no file");
  }
};

/// Return the answers as the caller's header has them: the size of the first is the distance between all.
std::vector<ee_testing_answer> answers_of(const ee_testing_script& given) {
  if (given.answers == nullptr || given.answer_count == 0) throw usage_error("the script is empty");
  if (given.answer_count > kMaxAnswers) throw usage_error("the script has more than 2^24 answers");
  if (given.answers->struct_size % alignof(ee_testing_answer) != 0) {
    throw usage_error("ee_testing_answer: struct_size is " + std::to_string(given.answers->struct_size));
  }
  std::vector<ee_testing_answer> answers;
  const auto* next = reinterpret_cast<const unsigned char*>(given.answers);
  for (std::size_t i = 0; i < given.answer_count; ++i, next += given.answers->struct_size) {
    const auto* answer = reinterpret_cast<const ee_testing_answer*>(next);
    answers.push_back(copied(answer, "ee_testing_answer"));
    if (answer->struct_size != given.answers->struct_size) {
      throw usage_error("ee_testing_answer: struct_size of answer " + std::to_string(i) + " is not that of the first");
    }
    require_pointer(answers.back().label, "ee_testing_answer: label");
  }
  return answers;
}

std::vector<std::string> labels_of(const ee_testing_script& given, const std::vector<ee_testing_answer>& answers) {
  std::vector<std::string> labels;
  for (std::size_t i = 0; given.labels != nullptr && i < given.label_count; ++i) {
    require_pointer(given.labels[i], "ee_testing_script: a label");
    labels.emplace_back(given.labels[i]);
  }
  for (const ee_testing_answer& answer : answers) {
    if (std::find(labels.begin(), labels.end(), answer.label) != labels.end()) continue;
    if (given.labels != nullptr) {
      throw usage_error("the script has " + in_quotes(answer.label) + "; the labels are " + printable(join(labels)));
    }
    labels.emplace_back(answer.label);
  }
  return labels;
}

Answer checked(const ee_testing_answer& given, const Manifest& m) {
  if (given.exit < 0 || static_cast<std::size_t>(given.exit) > m.early_exits()) {
    throw usage_error("the script has exit " + std::to_string(given.exit) + "; the last one is " +
                      std::to_string(m.early_exits()));
  }
  if (!(given.confidence >= 0 && given.confidence <= 1)) {
    throw usage_error("confidence must be 0 to 1, not " + number_text(given.confidence));
  }
  if (!(given.section_ms >= 0 && given.section_ms <= kMaxMs)) {
    throw usage_error("section_ms must be 0 to 1e9, not " + number_text(given.section_ms));
  }
  const auto label = std::find(m.labels.begin(), m.labels.end(), given.label) - m.labels.begin();
  return {static_cast<std::size_t>(label), static_cast<std::size_t>(given.exit), static_cast<float>(given.confidence),
          std::llround(given.section_ms * 1e6)};
}

Input input_of(const ee_testing_script& given) {
  constexpr std::int64_t kPicture[] = {3, 32, 32};
  const std::int64_t* shape = given.input_shape != nullptr ? given.input_shape : kPicture;
  const std::int32_t rank = given.input_shape != nullptr ? given.input_rank : 3;
  if (rank < 1) throw usage_error("ee_testing_script: input_rank is " + std::to_string(rank));
  Input input{"input", {"float32", {std::string(kBatch)}}, {}, {}, {}};
  for (std::int32_t i = 0; i < std::min(rank, 8); ++i) input.tensor.shape.emplace_back(shape[i]);  // 8 are refused below
  if (rank == 3 && shape[0] > 0 && shape[0] <= 4) {
    const auto channels = static_cast<std::size_t>(shape[0]);
    input.preprocess = Preprocess{1.0 / 255, std::vector<double>(channels, 0), std::vector<double>(channels, 1), {}};
  }
  return input;
}

/// Add the segment and the exit number `k`, which read what the exit before left.
void add_exit(Manifest& m, Variant& variant, int k, bool is_final) {
  const std::string number = std::to_string(k), carrier = "answer" + number, exit = "exit" + number;
  const std::string reads = k == 0 ? m.inputs[0].name : "answer" + std::to_string(k - 1);
  const std::string batch(kBatch), logits = exit + "_logits", confidence = exit + "_confidence";
  const std::string temperature = exit + "_temperature";
  m.components.push_back({"seg" + number, "segment", {reads}, {carrier}, kMacs, 0});
  m.components.push_back({exit, "exit", {carrier, temperature}, {logits, confidence}, kMacs / 100, 0});
  m.tensors.emplace_back(carrier, Tensor{"float32", {batch, std::int64_t{1}}});
  m.tensors.emplace_back(logits, Tensor{"float32", {batch, static_cast<std::int64_t>(m.labels.size())}});
  m.tensors.emplace_back(confidence, Tensor{"float32", {batch}});
  const auto tap = is_final ? std::nullopt : std::optional("layer" + number);
  m.exits.push_back({tap, exit, logits, confidence, temperature, {}, {}});
  variant.temperatures.push_back(1);
  for (const std::string& name : {"seg" + number, exit}) {
    const std::string path = "components/" + name + ".fake";
    variant.components.emplace_back(name, GraphFile{path, "fp32", 0, {}});
    m.files.emplace_back(path, File{std::string(64, '0'), 0});
  }
}

std::shared_ptr<const Bundle> bundle_of(const ee_testing_script& given, const std::vector<ee_testing_answer>& answers) {
  const std::int32_t early_exits = given.early_exits == 0 ? 2 : given.early_exits;
  if (early_exits < 1 || early_exits > kMaxEarlyExits) {
    throw usage_error("early_exits must be 1 to 100, not " + std::to_string(early_exits));
  }
  Manifest m;
  m.name = m.score = "scripted";
  m.inputs.push_back(input_of(given));
  m.labels = labels_of(given, answers);
  m.default_operating_point = "balanced";
  Variant variant;
  for (std::int32_t k = 0; k <= early_exits; ++k) add_exit(m, variant, k, k == early_exits);
  const auto count = static_cast<std::size_t>(early_exits);
  variant.operating_points = {{"full", {Thresholds(count), {}, {}}},
                              {"balanced", {Thresholds(count, 0.8), {}, {}}},
                              {"fast", {Thresholds(count, 0.6), {}, {}}}};
  m.variants.emplace_back(kVariant, std::move(variant));
  try {
    check_texts(m);
    check_shapes(m);
  } catch (const Error& error) {
    throw usage_error("ee_testing_script: " + error.message().substr(error.message().find(": ") + 2));
  }
  return std::make_shared<Bundle>(Bundle{"scripted.eebundle", "scripted.eebundle", std::move(m)});
}

/// Do what the component at `position` does: a segment of answers that takes time, or an exit.
void compute(Script& script, std::size_t position, const Component& component, TensorBuffers& tensors) {
  float* first = tensors.at(component.outputs[0]).floats();
  const std::size_t exit = position / 2;
  const auto drawn = [&] { return script.drawn++ % script.answers.size(); };
  const auto carried = [&] { return static_cast<std::size_t>(*tensors.at(component.inputs[0]).floats()); };
  const std::size_t index = position == 0 ? drawn() : carried();
  const Answer& answer = script.answers[index];
  if (component.kind == "segment") {
    clock_now_ns += answer.section_ns;
    *first = static_cast<float>(index);
    return;
  }
  std::fill_n(first, tensors.at(component.outputs[0]).size_bytes / sizeof(float), 0.0F);
  first[answer.label] = kLogit;
  *tensors.at(component.outputs[1]).floats() = exit >= answer.exit ? answer.confidence : 0.0F;
}

std::shared_ptr<Model> scripted_model(const ee_testing_script& given) {
  const std::vector<ee_testing_answer> answers = answers_of(given);
  const auto bundle = bundle_of(given, answers);
  const Manifest& m = bundle->manifest;
  const auto script = std::make_shared<Script>();
  for (const ee_testing_answer& answer : answers) script->answers.push_back(checked(answer, m));
  const auto declared = all_tensors(m, m.variants[0].second);
  std::vector<std::shared_ptr<Graph>> graphs;
  for (std::size_t position = 0; position < m.components.size(); ++position) {
    const auto run = [script, position](const Component& c, TensorBuffers& tensors) {
      compute(*script, position, c, tensors);
    };
    graphs.push_back(std::make_shared<DeclaredGraph>(m.components[position], declared, run));
  }
  auto loaded = std::make_shared<LoadedGraphs>(bundle, std::make_shared<ScriptedEngine>(), std::move(graphs));
  return std::make_shared<Model>(bundle, kVariant, std::move(loaded), scripted_clock);
}

/// Refuse where the program takes the other functions from another library, which would not know the model.
void check_link_order() {
  using Function = const char* (*)();
  const auto used = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, "ee_version"));
  Dl_info there{}, here{};
  if (used == nullptr || dladdr(used(), &there) == 0 || dladdr(kVariant, &here) == 0) return;
  if (there.dli_fbase == here.dli_fbase) return;
  throw usage_error("the program takes ee_session_new and others from " + printable(there.dli_fname),
                    "Link libeetool_testing before libeetool_runtime, or in its place.");
}

}  // namespace
}  // namespace eetool

extern "C" ee_status ee_testing_model(const ee_testing_script* script, ee_model** model, ee_error** error) {
  return guarded(error, [&] {
    require_pointer(model, "model");
    *model = nullptr;
    require_pointer(script, "script");
    check_link_order();
    *model = models().add(scripted_model(copied(script, "ee_testing_script")));
  });
}
