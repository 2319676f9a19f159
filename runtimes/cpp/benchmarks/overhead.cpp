// Components and cascades of one bundle as subjects that time themselves, for benchmarks/runtime/overhead.py, which names
// the figures and interleaves these subjects with those of the Python runtime.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>

#include "error.hpp"
#include "session.hpp"

using namespace eetool;

namespace {

using Samples = std::map<std::string, Bytes>;

struct Subject {
  std::string name;
  std::function<void(std::size_t)> call;  // takes the number of the call
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

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

Samples read_samples(const std::vector<std::string>& words) {
  Samples samples;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    samples[word.substr(0, equals)] = read_file(word.substr(equals + 1));
  }
  return samples;
}

/// The subjects of one variant, and what they need while they are called.
class Measurement {
 public:
  Measurement(const std::string& path, const std::string& variant, Threads threads, Samples samples)
      : bundle_(open_bundle(path)),
        m_(bundle_->manifest),
        variant_(variant),
        engine_(engine_for(variant.substr(0, variant.find('/')), "")),
        graphs_(std::make_shared<LoadedGraphs>(bundle_, variant, engine_, threads, true)),
        samples_(std::move(samples)),
        tensors_(m_, bundle_->variant(variant)) {
    for (std::size_t k = 0; k < m_.exits.size(); ++k) add_cascade("exit " + std::to_string(k), leaving_at(m_, k));
    add_cascade("full", Thresholds(m_.early_exits()));
    add_components();
    add_references(threads);
  }

  const std::vector<Subject>& subjects() const { return subjects_; }
  const char* pool() const { return graphs_->threads().pool == Pool::per_process ? "process" : "private"; }

 private:
  void add(const std::string& name, std::function<void(std::size_t)> call) {
    subjects_.push_back({name, std::move(call)});
  }

  void add_cascade(const std::string& name, const Thresholds& thresholds) {
    const auto model = std::make_shared<Model>(bundle_, variant_, graphs_, steady_clock_ns);
    model->use(thresholds, std::nullopt);
    sessions_.push_back(std::make_unique<Session>(model));
    add(name, [this, session = sessions_.back().get()](std::size_t number) {
      set_inputs(*session, m_, samples_, number);
      session->run({});
    });
  }

  void add_components() {
    for (const Input& input : m_.inputs) {
      TensorBuffer& buffer = tensors_.buffers.at(input.name);
      std::memcpy(buffer.memory.data(), samples_.at(input.name).data(), buffer.size_bytes);
    }
    for (std::size_t i = 0; i < m_.components.size(); ++i) {
      calls_.push_back(graphs_->graph(i).bind(tensors_.buffers));
      calls_.back()->run();
      add("component " + m_.components[i].name, [this, i](std::size_t) { calls_[i]->run(); });
    }
    for (std::size_t k = 0; k < m_.exits.size(); ++k) {
      const auto has_name = [&](const Component& c) { return c.name == m_.exits[k].component; };
      const auto last = std::find_if(m_.components.begin(), m_.components.end(), has_name) - m_.components.begin();
      add("least " + std::to_string(k), [this, last = static_cast<std::size_t>(last)](std::size_t number) {
        set_inputs(*sessions_[0], m_, samples_, number);
        for (std::size_t i = 0; i <= last; ++i) calls_[i]->run();
      });
    }
    add("in_turn", [this](std::size_t) {
      for (std::size_t i = 0; i < m_.components.size(); ++i) calls_[i]->run();
    });
  }

  void add_references(Threads threads) {
    for (const auto& [name, path] : bundle_->variant(variant_).references) {
      references_.push_back(engine_->open(path, bundle_->read(path), threads));
      if (name == "unsplit") tensors_.add("logits", *find(m_.tensors, m_.exits.back().logits));
      calls_.push_back(references_.back()->bind(tensors_.buffers));
      add("reference " + name, [call = calls_.back().get()](std::size_t) { call->run(); });
    }
  }

  std::shared_ptr<const Bundle> bundle_;
  const Manifest& m_;
  std::string variant_;
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<LoadedGraphs> graphs_;
  Samples samples_;
  Tensors tensors_;
  std::vector<Subject> subjects_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<std::shared_ptr<Graph>> references_;
  std::vector<std::unique_ptr<BoundCall>> calls_;  // of the components, in order; then of the references
};

std::unique_ptr<Measurement> measurement;

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

/// Open a bundle: BUNDLE VARIANT THREADS INPUT=FILE..., where FILE holds samples of the input, one after the other, as raw
/// bytes. Returns the number of subjects, or the negative status of the error that was printed.
EXPORTED int overhead_open(int count, const char** words) {
  try {
    const Threads threads{std::stoll(words[2]), Pool::per_process};
    measurement = std::make_unique<Measurement>(words[0], words[1], threads, read_samples({words + 3, words + count}));
    return static_cast<int>(measurement->subjects().size());
  } catch (const Error& error) {
    std::cerr << "error: " << error.message() << "\n";
    return -static_cast<int>(error.status());
  }
}

EXPORTED const char* overhead_pool() { return measurement->pool(); }

EXPORTED const char* overhead_name(std::size_t subject) { return measurement->subjects()[subject].name.c_str(); }

/// Call a subject and return the nanoseconds that it took, or -1 where it failed.
EXPORTED std::int64_t overhead_call(std::size_t subject, std::size_t number) {
  try {
    const std::int64_t start = steady_clock_ns();
    measurement->subjects()[subject].call(number);
    return steady_clock_ns() - start;
  } catch (const Error& error) {
    std::cerr << "error: " << error.message() << "\n";
    return -1;
  }
}
