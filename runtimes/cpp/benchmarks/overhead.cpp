// Times of one bundle's components, alone and in a cascade, for benchmarks/runtime/overhead.py, which names the figures.
//
//   overhead BUNDLE VARIANT THREADS RUNS SECONDS INPUT=FILE...
//
// FILE holds samples of the input, one after the other, as raw bytes. Every round calls every subject some times, in a
// new random order, and counts the median.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <random>

#include "error.hpp"
#include "json_writer.hpp"
#include "session.hpp"

using namespace eetool;

namespace {

constexpr int kBlock = 10;
constexpr double kWarmUpShare = 0.1;

using Samples = std::map<std::string, Bytes>;

struct Subject {
  std::string name;
  std::function<void(std::size_t)> call;  // takes the number of the call
  std::vector<double> rounds_ms;
};

/// The tensors of a variant at batch 1, as in a session.
struct Tensors {
  Tensors(const Manifest& m, const Variant& variant) {
    for (auto& [name, declared] : all_tensors(m, variant)) add(name, declared);
    for (const auto& [name, value] : scalars(m, variant)) *buffers.at(name).floats() = static_cast<float>(value);
  }

  void add(const std::string& name, const Tensor& declared) {
    bool is_fixed = false;
    TensorBuffer& buffer = buffers[name];
    buffer.declared = declared;
    std::vector<std::int64_t> shape = fixed_shape(declared, is_fixed);
    if (!is_fixed) throw usage_error(name + " has no fixed size");
    const std::size_t size_bytes = total_bytes(declared.dtype, shape);
    buffer.reshape(std::move(shape), size_bytes);
  }

  TensorBuffers buffers;
};

std::int64_t timed_ns(const std::function<void()>& action) {
  const std::int64_t start = steady_clock_ns();
  action();
  return steady_clock_ns() - start;
}

/// Give a session the inputs of sample `number`.
void set_inputs(Session& session, const Manifest& m, const Samples& samples, std::size_t number) {
  for (const Input& input : m.inputs) {
    bool is_fixed = false;
    const std::size_t size_bytes = total_bytes(input.tensor.dtype, fixed_shape(input.tensor, is_fixed));
    const Bytes& data = samples.at(input.name);
    const unsigned char* sample = data.data() + number % (data.size() / size_bytes) * size_bytes;
    session.input(input.name.c_str()).set(GivenTensor{input.tensor.dtype, nullptr, 0, sample, size_bytes});
  }
}

/// Return thresholds with which every input leaves at exit `index`, and all exits before it run.
Thresholds leaving_at(const Manifest& m, std::size_t index) {
  Thresholds thresholds(m.early_exits(), kNever);
  if (index < thresholds.size()) thresholds[index] = 0.0;
  return thresholds;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[values.size() / 2] + values[(values.size() - 1) / 2]) / 2;
}

void measure(std::vector<Subject>& subjects, std::size_t runs, double seconds) {
  std::mt19937 random(0);
  std::vector<std::size_t> order(subjects.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const std::int64_t begin = steady_clock_ns();
  std::int64_t measured_from = begin;
  bool warm = false;
  for (std::size_t number = 0, counted = 0;; number += kBlock) {
    const std::int64_t now = steady_clock_ns();
    if (!warm && static_cast<double>(now - begin) > kWarmUpShare * seconds * 1e9) {
      warm = true, measured_from = now;
    }
    if (counted >= runs && static_cast<double>(now - measured_from) > seconds * 1e9) return;
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) {
      std::vector<double> block;
      for (std::size_t n = number; n < number + kBlock; ++n) {
        block.push_back(static_cast<double>(timed_ns([&] { subjects[i].call(n); })) / 1e6);
      }
      if (warm) subjects[i].rounds_ms.push_back(median(block));
    }
    if (warm) counted += kBlock;
  }
}

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

int run(const std::vector<std::string>& words) {
  const auto bundle = open_bundle(words[0]);
  const Manifest& m = bundle->manifest;
  const Variant& variant = bundle->variant(words[1]);
  const auto engine = engine_for(words[1].substr(0, words[1].find('/')), "");
  const Threads threads{std::stoll(words[2]), Pool::per_process};
  const auto graphs = std::make_shared<LoadedGraphs>(bundle, words[1], engine, threads, true);
  Samples samples;
  for (std::size_t i = 5; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    samples[words[i].substr(0, equals)] = read_file(words[i].substr(equals + 1));
  }

  std::vector<Subject> subjects;
  std::vector<std::shared_ptr<Model>> models;
  std::vector<std::unique_ptr<Session>> sessions;
  const auto add_cascade = [&](const std::string& name, const Thresholds& thresholds) {
    models.push_back(std::make_shared<Model>(bundle, words[1], graphs, steady_clock_ns));
    models.back()->use(thresholds, std::nullopt);
    sessions.push_back(std::make_unique<Session>(models.back()));
    subjects.push_back({name, [&, session = sessions.back().get()](std::size_t number) {
      set_inputs(*session, m, samples, number);
      session->run({});
    }, {}});
  };
  for (std::size_t k = 0; k < m.exits.size(); ++k) add_cascade("exit " + std::to_string(k), leaving_at(m, k));
  add_cascade("full", Thresholds(m.early_exits()));

  Tensors tensors(m, variant);
  for (const Input& input : m.inputs) {
    TensorBuffer& buffer = tensors.buffers.at(input.name);
    std::memcpy(buffer.memory.data(), samples.at(input.name).data(), buffer.size_bytes);
  }
  std::vector<std::unique_ptr<BoundCall>> calls;
  for (std::size_t i = 0; i < m.components.size(); ++i) {
    calls.push_back(graphs->graph(i).bind(tensors.buffers));
    calls.back()->run();
    subjects.push_back({"component " + m.components[i].name, [&, i](std::size_t) { calls[i]->run(); }, {}});
  }
  std::vector<std::size_t> ends;  // by exit: the number of components up to it
  for (const Exit& exit : m.exits) {
    const auto has_name = [&](const Component& c) { return c.name == exit.component; };
    const auto found = std::find_if(m.components.begin(), m.components.end(), has_name);
    ends.push_back(static_cast<std::size_t>(found - m.components.begin()) + 1);
  }
  for (std::size_t k = 0; k < ends.size(); ++k) {
    subjects.push_back({"least " + std::to_string(k), [&, k](std::size_t number) {
      set_inputs(*sessions[0], m, samples, number);
      for (std::size_t i = 0; i < ends[k]; ++i) calls[i]->run();
    }, {}});
  }
  subjects.push_back({"in_turn", [&](std::size_t) {
    for (const auto& call : calls) call->run();
  }, {}});
  std::vector<std::shared_ptr<Graph>> references;
  std::vector<std::unique_ptr<BoundCall>> reference_calls;
  for (const auto& [name, path] : variant.references) {
    references.push_back(engine->open(path, bundle->read(path), threads));
    if (name == "unsplit") tensors.add("logits", *find(m.tensors, m.exits.back().logits));
    reference_calls.push_back(references.back()->bind(tensors.buffers));
    subjects.push_back({"reference " + name, [call = reference_calls.back().get()](std::size_t) { call->run(); }, {}});
  }
  measure(subjects, std::stoull(words[3]), std::stod(words[4]));

  JsonWriter json;
  json.begin_object();
  json.member("pool", graphs->threads().pool == Pool::per_process ? "process" : "private");
  json.key("rounds");
  json.begin_object();
  for (const Subject& subject : subjects) json.member(subject.name, subject.rounds_ms);
  json.end_object();
  json.end_object();
  std::cout << json.take() << "\n";
  return 0;
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count < 7) throw usage_error("usage: overhead BUNDLE VARIANT THREADS RUNS SECONDS INPUT=FILE...");
    return run({words + 1, words + count});
  } catch (const Error& error) {
    std::cerr << "error: " << error.message() << "\n";
    return error.status() == Status::input ? 3 : static_cast<int>(error.status());
  }
}
