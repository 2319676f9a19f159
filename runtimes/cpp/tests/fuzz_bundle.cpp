// libFuzzer target: any manifest and any graph file are a bundle that runs, or are refused.
//
// An input is a manifest, a null byte, and the content that all files of the bundle have. Sizes and hashes in the
// manifest are corrected first, because a fuzzer cannot guess a hash. The engine runs whatever the manifest declares,
// with values from the content.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "declared_graph.hpp"
#include "error.hpp"
#include "session.hpp"
#include "sha256.hpp"
#include "side_files.hpp"

using namespace eetool;

namespace {

constexpr std::size_t kMaxFiles = 32, kMaxTensorBytes = 1 << 16;  // more would only be slower

/// Source of the values of tensors.
struct Content {
  Bytes bytes;
  std::size_t at = 0;

  void fill(TensorBuffer& tensor) {
    if (bytes.empty()) return;
    for (std::size_t i = 0; i < tensor.size_bytes; ++i) tensor.memory.data()[i] = bytes[at++ % bytes.size()];
  }
};

class DeclaredEngine : public Engine {
 public:
  DeclaredEngine(const Manifest& manifest, const Variant& variant, Content& content)
      : manifest_(manifest), variant_(variant), declared_(all_tensors(manifest, variant)), content_(content) {}

  std::string name() const override { return "declared"; }
  std::string version() const override { return "1"; }
  std::string library() const override { return "none"; }

  std::shared_ptr<Graph> open(const std::string& path, const Bytes& data, Threads) override {
    const bool is_tflite = path.size() > 7 && path.compare(path.size() - 7, 7, ".tflite") == 0;
    is_tflite ? refuse_tflite_side_files(path, data) : refuse_onnx_side_files(path, data);
    while (find(variant_.components, manifest_.components[next_].name)->path != path) ++next_;
    const auto compute = [this](const Component& component, TensorBuffers& tensors) {
      for (const std::string& output : component.outputs) content_.fill(tensors.at(output));
    };
    return std::make_shared<DeclaredGraph>(manifest_.components[next_++], declared_, compute);
  }

 private:
  const Manifest& manifest_;
  const Variant& variant_;
  std::map<std::string, Tensor> declared_;
  Content& content_;
  std::size_t next_ = 0;  // component, as graphs are opened in their order
};

/// A folder in memory where there is one, removed at the end of the process.
const std::filesystem::path& folder() {
  static const struct Folder {
    Folder() {
      std::string name = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp";
      name += "/eetool-fuzz-XXXXXX";
      path = mkdtemp(name.data());
    }
    ~Folder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
  } made;
  return made.path;
}

/// Return the manifest with every SHA-256 and every `"size_bytes":N` replaced by those of the content.
std::string corrected(const std::string& manifest, const Bytes& content) {
  constexpr std::size_t kDigits = 64;
  static const std::string size_key = "\"size_bytes\":", hex = "0123456789abcdef", decimal = "0123456789";
  Sha256 digest;
  digest.update(content.data(), content.size());
  const std::string hash = digest.hex_digest(), size = std::to_string(content.size());
  std::string text;
  for (std::size_t at = 0; at < manifest.size();) {
    const std::size_t hex_end = std::min(manifest.find_first_not_of(hex, at), manifest.size());
    if (hex_end - at == kDigits) {
      text += hash;
      at = hex_end;
    } else if (manifest.compare(at, size_key.size(), size_key) == 0) {
      text += size_key + size;
      at = std::min(manifest.find_first_not_of(decimal, at + size_key.size()), manifest.size());
    } else {
      const std::size_t next = std::max(hex_end, at + 1);
      text.append(manifest, at, next - at);
      at = next;
    }
  }
  return text;
}

void write(const std::filesystem::path& path, const char* data, std::size_t size) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(data, static_cast<std::streamsize>(size));
}

bool is_small(const Manifest& m, const Variant& variant) {
  std::size_t total = 0;
  for (const auto& [name, tensor] : all_tensors(m, variant)) {
    bool is_fixed = false;
    total += total_bytes(tensor.dtype, fixed_shape(tensor, is_fixed));
    if (total > kMaxTensorBytes) return false;
  }
  return true;
}

void set_inputs(Session& session, const Manifest& m, Content& content) {
  for (const Input& input : m.inputs) {
    bool is_fixed = false;
    const auto shape = fixed_shape(input.tensor, is_fixed);
    const Bytes zeros(total_bytes(input.tensor.dtype, shape));
    session.input(input.name.c_str())
        .set(GivenTensor{input.tensor.dtype, shape.data(), shape.size(), zeros.data(), zeros.size()});
    if (!input.preprocess || content.bytes.empty()) continue;
    const auto size = [&](std::size_t i) { return std::get<std::int64_t>(input.tensor.shape[i]); };
    const std::int64_t rows = 1 + content.bytes[0] % 8, channels = size(1);
    const Bytes pixels(static_cast<std::size_t>(rows * size(3) * channels), content.bytes.back());
    session.input(input.name.c_str()).set(GivenImage{pixels.data(), pixels.size(), rows, size(3), channels, 0});
  }
}

template <typename Action>
void attempt(Action action) {
  try {
    action();
  } catch (const Error&) {
  }
}

void run_variant(const std::shared_ptr<const Bundle>& bundle, const std::string& key, Content& content) {
  const Manifest& m = bundle->manifest;
  const Variant& variant = bundle->variant(key);
  if (!is_small(m, variant)) return;
  auto graphs = std::make_shared<LoadedGraphs>(
      bundle, key, std::make_shared<DeclaredEngine>(m, variant, content), Threads{}, true);
  const auto model = std::make_shared<Model>(bundle, key, std::move(graphs), steady_clock_ns);
  model->info_json();
  Session session(model);
  set_inputs(session, m, content);
  for (const auto& entry : variant.operating_points) {
    model->use(entry.first, std::nullopt);
    session.run({});
    session.run({1000.0, 0});
    session.run({std::nullopt, -1});
    attempt([&] { model->use(entry.first, Band{0.25, 0.75}); });
    session.run({});
  }
  model->stats_json();
  model->prometheus_text();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::uint8_t* const end = data + size;
  const std::uint8_t* const split = std::find(data, end, 0);
  Content content{Bytes(split == end ? end : split + 1, end)};
  const std::string text = corrected(std::string(data, split), content.bytes);
  attempt([&] {
    const Manifest m = parse_manifest(text);
    if (m.files.size() > kMaxFiles) return;
    const std::filesystem::path root = folder() / "fuzzed.eebundle";
    write(root / "manifest.json", text.data(), text.size());
    std::error_code ignored;  // a file may have the path of a folder; the bundle is then refused
    for (const auto& entry : m.files) {
      if (std::filesystem::exists(root / entry.first, ignored)) continue;
      try {
        write(root / entry.first, reinterpret_cast<const char*>(content.bytes.data()), content.bytes.size());
      } catch (const std::filesystem::filesystem_error&) {
      }
    }
    const auto bundle = open_bundle(root.string());
    for (const auto& entry : bundle->manifest.variants) attempt([&] { run_variant(bundle, entry.first, content); });
  });
  std::filesystem::remove_all(folder() / "fuzzed.eebundle");
  return 0;
}
