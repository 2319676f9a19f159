// Strict decoding of a manifest: every field is present and of its type, and there is no other.
#include <cmath>

#include "error.hpp"
#include "json.hpp"
#include "manifest.hpp"
#include "manifest_fields.hpp"
#include "manifest_version.hpp"
#include "text.hpp"

namespace eetool {
namespace {

void decode(const JsonValue& value, const std::string& path, bool, std::string& out) {
  const auto* text = value.as<std::string>();
  if (text == nullptr) refuse_type(path, "a string", value);
  out = *text;
}

void decode(const JsonValue& value, const std::string& path, bool, std::int64_t& out) {
  const auto* integer = value.as<std::int64_t>();
  if (integer == nullptr) refuse_type(path, "an integer", value);
  out = *integer;
}

void decode(const JsonValue& value, const std::string& path, bool, double& out) {
  if (const auto* integer = value.as<std::int64_t>()) {
    out = static_cast<double>(*integer);
  } else if (const auto* number = value.as<double>()) {
    out = *number;
  } else {
    refuse_type(path, "a number", value);
  }
}

void decode(const JsonValue& value, const std::string& path, bool, bool& out) {
  const auto* truth = value.as<bool>();
  if (truth == nullptr) refuse_type(path, "true or false", value);
  out = *truth;
}

void decode(const JsonValue& value, const std::string& path, bool, Dimension& out) {
  if (const auto* integer = value.as<std::int64_t>()) {
    out = *integer;
  } else if (const auto* text = value.as<std::string>()) {
    out = *text;
  } else {
    refuse_type(path, "an integer or a string", value);
  }
}

template <typename T>
void decode(const JsonValue& value, const std::string& path, bool lenient, T& out);
template <typename T>
void decode(const JsonValue& value, const std::string& path, bool lenient, std::optional<T>& out);
template <typename T>
void decode(const JsonValue& value, const std::string& path, bool lenient, std::vector<T>& out);
template <typename T>
void decode(const JsonValue& value, const std::string& path, bool lenient, Named<T>& out);

template <typename T>
void read(Fields& fields, const char* name, T& out) {
  decode(fields.required(name), fields.at(name), fields.ignore_unknown(), out);
}

template <typename T>
void read_optional(Fields& fields, const char* name, T& out) {
  if (const JsonValue* value = fields.optional(name)) decode(*value, fields.at(name), fields.ignore_unknown(), out);
}

void read_fields(Fields& f, Tensor& out) {
  read(f, "dtype", out.dtype);
  read(f, "shape", out.shape);
}

void read_fields(Fields& f, Resize& out) {
  read_optional(f, "fit", out.fit);
  read_optional(f, "filter", out.filter);
}

void read_fields(Fields& f, Preprocess& out) {
  read(f, "scale", out.scale);
  read(f, "mean", out.mean);
  read(f, "std", out.std);
  read_optional(f, "resize", out.resize);
}

void read_fields(Fields& f, Text& out) {
  read(f, "vocabulary", out.vocabulary);
  read_optional(f, "segmentation", out.segmentation);
}

void read_fields(Fields& f, Input& out);
void read_fields(Fields& f, Exit& out);
void read_fields(Fields& f, Component& out);
void read_fields(Fields& f, GraphFile& out);
void read_fields(Fields& f, ReachedConfidence& out);
void read_fields(Fields& f, Expected& out);
void read_fields(Fields& f, Certificate& out);
void read_fields(Fields& f, OperatingPoint& out);
void read_fields(Fields& f, Variant& out);
void read_fields(Fields& f, Split& out);
void read_fields(Fields& f, Data& out);
void read_fields(Fields& f, Measured& out);
void read_fields(Fields& f, DeviceSettings& out);
void read_fields(Fields& f, StreamPolicy& out);
void read_fields(Fields& f, StreamExpected& out);
void read_fields(Fields& f, StreamPoint& out);
void read_fields(Fields& f, Stream& out);
void read_fields(Fields& f, OffloadInput& out);
void read_fields(Fields& f, OffloadOutput& out);
void read_fields(Fields& f, OffloadPoint& out);
void read_fields(Fields& f, OffloadPolicy& out);
void read_fields(Fields& f, OffloadSpec& out);
void read_fields(Fields& f, File& out);

/// Decode a record.
template <typename T>
void decode(const JsonValue& value, const std::string& path, bool lenient, T& out) {
  Fields fields(value, path, lenient);
  read_fields(fields, out);
  fields.finish();
}

template <typename T>
void decode(const JsonValue& value, const std::string& path, bool lenient, std::optional<T>& out) {
  if (value.as<std::nullptr_t>() != nullptr) {
    out.reset();
  } else {
    decode(value, path, lenient, out.emplace());
  }
}

template <typename T>
void decode(const JsonValue& value, const std::string& path, bool lenient, std::vector<T>& out) {
  const auto* list = value.as<JsonList>();
  if (list == nullptr) refuse_type(path, "a list", value);
  for (std::size_t i = 0; i < list->size(); ++i) {
    decode((*list)[i], path + "[" + std::to_string(i) + "]", lenient, out.emplace_back());
  }
}

template <typename T>
void decode(const JsonValue& value, const std::string& path, bool lenient, Named<T>& out) {
  const auto* object = value.as<JsonObject>();
  if (object == nullptr) refuse_type(path, "an object", value);
  for (const auto& [name, member] : object->members) {
    decode(member, below(path, name), lenient, out.emplace_back(name, T{}).second);
  }
}

void read_fields(Fields& f, Input& out) {
  read(f, "name", out.name);
  read_fields(f, out.tensor);
  read_optional(f, "preprocess", out.preprocess);
  read_optional(f, "text", out.text);
  read_optional(f, "picture", out.picture);
}

void read_fields(Fields& f, Exit& out) {
  read(f, "tap", out.tap);
  read(f, "component", out.component);
  read(f, "logits", out.logits);
  read(f, "confidence", out.confidence);
  read(f, "temperature", out.temperature);
  read_optional(f, "slope", out.slope);
  read_optional(f, "offset", out.offset);
}

void read_fields(Fields& f, Component& out) {
  read(f, "name", out.name);
  read(f, "kind", out.kind);
  read(f, "inputs", out.inputs);
  read(f, "outputs", out.outputs);
  read(f, "macs", out.macs);
  read(f, "parameters", out.parameters);
}

void read_fields(Fields& f, GraphFile& out) {
  read(f, "path", out.path);
  read(f, "precision", out.precision);
  read(f, "max_abs_error", out.max_abs_error);
  read(f, "tolerance", out.tolerance);
}

void read_fields(Fields& f, ReachedConfidence& out) {
  read(f, "n", out.n);
  read(f, "confidence_mean", out.confidence_mean);
  read(f, "confidence_std", out.confidence_std);
}

void read_fields(Fields& f, Expected& out) {
  read(f, "split", out.split);
  read(f, "n", out.n);
  read(f, "accuracy", out.accuracy);
  read(f, "exit_shares", out.exit_shares);
  read(f, "mean_exit_depth", out.mean_exit_depth);
  read(f, "mean_macs", out.mean_macs);
  read(f, "reached", out.reached);
}

void read_fields(Fields& f, Certificate& out) {
  read(f, "method", out.method);
  read(f, "confidence", out.confidence);
  read(f, "max_accuracy_drop", out.max_accuracy_drop);
  read(f, "n", out.n);
  read(f, "worse", out.worse);
  read(f, "better", out.better);
  read(f, "p_value", out.p_value);
}

void read_fields(Fields& f, OperatingPoint& out) {
  read(f, "thresholds", out.thresholds);
  read_optional(f, "expected", out.expected);
  read_optional(f, "certificate", out.certificate);
}

void read_fields(Fields& f, Variant& out) {
  read(f, "components", out.components);
  read(f, "temperatures", out.temperatures);
  read(f, "operating_points", out.operating_points);
  read(f, "samples", out.samples);
  read(f, "samples_tolerance", out.samples_tolerance);
  read_optional(f, "batch", out.batch);
  read_optional(f, "tensors", out.tensors);
  read_optional(f, "references", out.references);
  read_optional(f, "slopes", out.slopes);
  read_optional(f, "offsets", out.offsets);
}

void read_fields(Fields& f, Split& out) {
  read(f, "n", out.n);
  read(f, "sha256", out.sha256);
}

void read_fields(Fields& f, Data& out) {
  read(f, "source", out.source);
  read(f, "splits", out.splits);
}

void read_fields(Fields& f, Measured& out) {
  read(f, "threads", out.threads);
  read(f, "component_latency_ms", out.component_latency_ms);
}

void read_fields(Fields& f, DeviceSettings& out) {
  read(f, "machine", out.machine);
  read(f, "variants", out.variants);
}

void read_fields(Fields& f, StreamPolicy& out) {
  read(f, "epsilon", out.epsilon);
  read(f, "thresholds", out.thresholds);
  read_optional(f, "agree", out.agree);
  read_optional(f, "check_every", out.check_every);
  read_optional(f, "skip_distance", out.skip_distance);
  read_optional(f, "gap_s", out.gap_s);
}

void read_fields(Fields& f, StreamExpected& out) {
  read(f, "split", out.split);
  read(f, "n", out.n);
  read(f, "sequences", out.sequences);
  read(f, "accuracy", out.accuracy);
  read(f, "exit_shares", out.exit_shares);
  read(f, "mean_macs", out.mean_macs);
  read(f, "reached", out.reached);
  read_optional(f, "reaction_mean_s", out.reaction_mean_s);
  read_optional(f, "reaction_p95_s", out.reaction_p95_s);
  read_optional(f, "false_switches_per_minute", out.false_switches_per_minute);
}

void read_fields(Fields& f, StreamPoint& out) {
  read(f, "policy", out.policy);
  read_optional(f, "expected", out.expected);
}

void read_fields(Fields& f, Stream& out) {
  read(f, "period_s", out.period_s);
  read(f, "base_rates", out.base_rates);
  read(f, "default_operating_point", out.default_operating_point);
  read(f, "operating_points", out.operating_points);
}

void read_fields(Fields& f, OffloadInput& out) {
  read(f, "tensor", out.tensor);
  read(f, "name", out.name);
  read(f, "dtype", out.dtype);
  read_optional(f, "scale", out.scale);
  read_optional(f, "zero_point", out.zero_point);
}

void read_fields(Fields& f, OffloadOutput& out) {
  read(f, "exit", out.exit);
  read(f, "logits", out.logits);
  read(f, "confidence", out.confidence);
}

void read_fields(Fields& f, OffloadPoint& out) {
  read(f, "thresholds", out.thresholds);
  read_optional(f, "link_up", out.link_up);
  read_optional(f, "link_down", out.link_down);
  read_optional(f, "offload_share", out.offload_share);
}

void read_fields(Fields& f, OffloadPolicy& out) {
  read(f, "temperatures", out.temperatures);
  read(f, "operating_points", out.operating_points);
  read_optional(f, "slopes", out.slopes);
  read_optional(f, "offsets", out.offsets);
}

void read_fields(Fields& f, OffloadSpec& out) {
  read(f, "after_exit", out.after_exit);
  read(f, "model", out.model);
  read(f, "wire", out.wire);
  read(f, "inputs", out.inputs);
  read(f, "outputs", out.outputs);
  read(f, "variants", out.variants);
}

void read_fields(Fields& f, File& out) {
  read(f, "sha256", out.sha256);
  read(f, "size_bytes", out.size_bytes);
}

void read_fields(Fields& f, Manifest& out) {
  read(f, "name", out.name);
  read(f, "inputs", out.inputs);
  read(f, "labels", out.labels);
  read(f, "tensors", out.tensors);
  read(f, "exits", out.exits);
  read(f, "components", out.components);
  read(f, "variants", out.variants);
  read(f, "score", out.score);
  read(f, "default_operating_point", out.default_operating_point);
  read(f, "samples", out.samples);
  read(f, "producer", out.producer);
  read(f, "files", out.files);
  read_optional(f, "unsplit_macs", out.unsplit_macs);
  read_optional(f, "max_accuracy_drop", out.max_accuracy_drop);
  read_optional(f, "data", out.data);
  read_optional(f, "devices", out.devices);
  read_optional(f, "stream", out.stream);
  read_optional(f, "offload", out.offload);
}

}  // namespace

Manifest parse_manifest(std::string_view bytes) {
  if (bytes.size() > kMaxManifestBytes) {
    refuse_manifest(std::to_string(bytes.size()) + " bytes; at most " + std::to_string(kMaxManifestBytes) +
                    " are allowed");
  }
  const JsonValue document = parse_json(bytes, "manifest.json");
  Manifest manifest;
  manifest.minor_version = minor_version(document);
  Fields fields(document, "", manifest.minor_version > kNewestMinor);  // unknown fields of newer versions are ignored
  fields.required("schema_version");
  read_fields(fields, manifest);
  fields.finish();
  check_manifest(manifest);
  return manifest;
}

void refuse_manifest(const std::string& reason) {
  throw bundle_error("manifest.json: " + printable(reason),
                     "Export the bundle again, or copy it again from where it was made.");
}

}  // namespace eetool
