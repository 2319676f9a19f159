// Records of `manifest.json`. The normative text is docs/bundle-format.md; names and meanings follow it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace eetool {

inline constexpr std::size_t kMaxManifestBytes = 1 << 20;
inline constexpr double kNever = 2.0;  // threshold of a gate that cannot fire: confidences are at most 1
inline constexpr std::string_view kBatch = "batch";
inline constexpr std::string_view kSharedFileEnding = ".tflites";

/// An object of the manifest, in the order of the text.
template <typename T>
using Named = std::vector<std::pair<std::string, T>>;

template <typename T>
const T* find(const Named<T>& entries, std::string_view name) {
  for (const auto& [key, value] : entries) {
    if (key == name) return &value;
  }
  return nullptr;
}

using Dimension = std::variant<std::int64_t, std::string>;  // a size, or a symbol

/// Type of a tensor.
struct Tensor {
  std::string dtype;
  std::vector<Dimension> shape;

  bool operator==(const Tensor& other) const { return dtype == other.dtype && shape == other.shape; }
};

/// Rule that brings a picture of any size to the model's.
struct Resize {
  std::string fit = "crop";
  std::string filter = "bilinear";
};

struct Preprocess {
  double scale = 0;
  std::vector<double> mean;
  std::vector<double> std;
  std::optional<Resize> resize;
};

struct Text {
  std::vector<std::string> vocabulary;
  std::string segmentation = "runs";  // how texts are split into words
};

struct Input {
  std::string name;
  Tensor tensor;
  std::optional<Preprocess> preprocess;
  std::optional<Text> text;
  std::optional<std::string> picture;  // inputs of one name here are views of one picture
};

struct Exit {
  std::optional<std::string> tap;
  std::string component;
  std::string logits;
  std::string confidence;
  std::string temperature;
  std::optional<std::string> slope;
  std::optional<std::string> offset;
};

struct Component {
  std::string name;
  std::string kind;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::int64_t macs = 0;
  std::int64_t parameters = 0;
};

struct GraphFile {
  std::string path;
  std::string precision;
  double max_abs_error = 0;
  std::optional<double> tolerance;
};

struct ReachedConfidence {
  std::int64_t n = 0;
  double confidence_mean = 0;
  double confidence_std = 0;
};

struct Expected {
  std::string split;
  std::int64_t n = 0;
  double accuracy = 0;
  std::vector<double> exit_shares;
  double mean_exit_depth = 0;
  double mean_macs = 0;
  std::vector<std::optional<ReachedConfidence>> reached;
};

struct Certificate {
  std::string method;
  double confidence = 0;
  double max_accuracy_drop = 0;
  std::int64_t n = 0;
  std::int64_t worse = 0;
  std::int64_t better = 0;
  double p_value = 0;
};

using Thresholds = std::vector<std::optional<double>>;  // one per early exit; empty ones never fire

struct OperatingPoint {
  Thresholds thresholds;
  std::optional<Expected> expected;
  std::optional<Certificate> certificate;
};

struct Variant {
  Named<GraphFile> components;
  std::vector<double> temperatures;
  Named<OperatingPoint> operating_points;
  std::string samples;
  double samples_tolerance = 0;
  std::optional<std::int64_t> batch;
  Named<Tensor> tensors;
  Named<std::string> references;
  std::vector<double> slopes;
  std::vector<double> offsets;

  /// Return the path of the file that holds all components, a signature each; null where each has its own.
  const std::string* shared_file() const;
};

struct Split {
  std::int64_t n = 0;
  std::string sha256;
};

struct Data {
  std::string source;
  Named<Split> splits;
};

struct Measured {
  std::int64_t threads = 0;
  Named<double> component_latency_ms;
};

struct DeviceSettings {
  std::string machine;
  Named<Measured> variants;
};

/// Rule of a stream of frames: checked, but not run. The normative text is docs/streams.md.
struct StreamPolicy {
  double epsilon = 0;
  Thresholds thresholds;
  bool agree = true;
  std::int64_t check_every = 0;
  std::optional<double> skip_distance;
  std::optional<double> gap_s;
};

struct StreamExpected {
  std::string split;
  std::int64_t n = 0;
  std::int64_t sequences = 0;
  double accuracy = 0;
  std::vector<double> exit_shares;
  double mean_macs = 0;
  std::vector<std::optional<ReachedConfidence>> reached;
  std::optional<double> reaction_mean_s;
  std::optional<double> reaction_p95_s;
  std::optional<double> false_switches_per_minute;
};

struct StreamPoint {
  StreamPolicy policy;
  std::optional<StreamExpected> expected;
};

struct Stream {
  double period_s = 0;
  std::vector<double> base_rates;
  std::string default_operating_point;
  Named<Named<StreamPoint>> operating_points;  // by variant and name
};

/// Tensor that travels to a server. What a server computes is checked, but not run: docs/offload.md.
struct OffloadInput {
  std::string tensor;
  std::string name;
  std::string dtype;
  std::optional<double> scale;
  std::optional<std::int64_t> zero_point;
};

struct OffloadOutput {
  std::int64_t exit = 0;
  std::string logits;
  std::string confidence;
};

struct OffloadPoint {
  Thresholds thresholds;
  std::optional<Expected> link_up;
  std::optional<Expected> link_down;
  std::optional<double> offload_share;
};

struct OffloadPolicy {
  std::vector<double> temperatures;
  Named<OffloadPoint> operating_points;
  std::vector<double> slopes;
  std::vector<double> offsets;
};

struct OffloadSpec {
  std::optional<std::int64_t> after_exit;  // empty where the model's inputs travel
  std::string model;
  std::string wire;
  std::vector<OffloadInput> inputs;
  std::vector<OffloadOutput> outputs;
  Named<OffloadPolicy> variants;

  std::size_t first_exit() const { return after_exit ? static_cast<std::size_t>(*after_exit) + 1 : 0; }
};

struct File {
  std::string sha256;
  std::int64_t size_bytes = 0;
};

struct Manifest {
  int minor_version = 0;  // of the format
  std::string name;
  std::vector<Input> inputs;
  std::vector<std::string> labels;
  Named<Tensor> tensors;
  std::vector<Exit> exits;
  std::vector<Component> components;
  Named<Variant> variants;
  std::string score;
  std::string default_operating_point;
  std::string samples;
  Named<std::string> producer;
  Named<File> files;
  std::optional<std::int64_t> unsplit_macs;
  std::optional<double> max_accuracy_drop;
  std::optional<Data> data;
  Named<DeviceSettings> devices;
  std::optional<Stream> stream;
  std::optional<OffloadSpec> offload;

  std::size_t early_exits() const { return exits.size() - 1; }
};

/// Parse and check the bytes of `manifest.json`; throws a bundle error.
Manifest parse_manifest(std::string_view bytes);

/// Check every rule between the fields; throws a bundle error.
void check_manifest(const Manifest& manifest);

/// Return the names of the scalar inputs of an exit, and their values in a variant.
std::vector<std::pair<std::string, double>> scalars(const Manifest& manifest, const Variant& variant);

/// Return the type of every tensor that a graph of `variant` may read or write.
std::map<std::string, Tensor> all_tensors(const Manifest& manifest, const Variant& variant);

/// Return dtype and shape as text: `float32 (batch, 3, 32, 32)`.
std::string describe(const Tensor& tensor);

/// Throw the refusal of a manifest.
[[noreturn]] void refuse_manifest(const std::string& reason);

}  // namespace eetool
