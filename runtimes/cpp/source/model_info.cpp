// What a model is, as JSON.
#include <algorithm>
#include <set>
#include <string>

#include "json_writer.hpp"
#include "machine.hpp"
#include "model.hpp"

namespace eetool {
namespace {

void write_inputs(JsonWriter& json, const Manifest& m) {
  json.begin_list();
  for (const Input& input : m.inputs) {
    json.begin_object();
    json.member("name", input.name);
    json.member("dtype", input.tensor.dtype);
    json.key("shape");
    json.begin_list();
    for (const Dimension& dimension : input.tensor.shape)
      std::visit([&](const auto& size) { json.value(size); }, dimension);
    json.end_list();
    json.member("from", input.preprocess ? "image" : input.text ? "text" : "tensor");
    json.member("segmentation", input.text ? std::optional(input.text->segmentation) : std::nullopt);
    json.end_object();
  }
  json.end_list();
}

/// Write sizes of the files of components, and the resident memory of the process; engines need more than the files.
void write_memory(JsonWriter& json, const Manifest& m, const Variant& variant,
                  const std::vector<std::string>& not_loaded) {
  std::set<std::string> all, loaded;  // paths, as components may share a file
  for (const auto& [name, graph] : variant.components) {
    all.insert(graph.path);
    if (std::find(not_loaded.begin(), not_loaded.end(), name) == not_loaded.end()) loaded.insert(graph.path);
  }
  const auto size_bytes = [&m](const std::set<std::string>& paths) {
    std::int64_t sum = 0;
    for (const std::string& path : paths) sum += find(m.files, path)->size_bytes;
    return sum;
  };
  json.member("not_loaded", not_loaded);
  json.member("loaded_bytes", size_bytes(loaded));
  json.member("total_bytes", size_bytes(all));
  json.member("process_bytes", resident_bytes());
}

void write_points(JsonWriter& json, const Variant& variant) {
  json.begin_object();
  for (const auto& [name, point] : variant.operating_points) {
    json.key(name);
    json.begin_object();
    json.member("thresholds", point.thresholds);
    json.key("expected");
    if (point.expected) {
      json.begin_object();
      json.member("split", point.expected->split);
      json.member("n", point.expected->n);
      json.member("accuracy", point.expected->accuracy);
      json.member("exit_shares", point.expected->exit_shares);
      json.member("mean_macs", point.expected->mean_macs);
      json.end_object();
    } else {
      json.null();
    }
    json.end_object();
  }
  json.end_object();
}

}  // namespace

std::string Model::info_json() const {
  const Manifest& m = manifest();
  std::shared_ptr<const ExecutionPlan> plan;
  {
    const std::lock_guard lock(mutex_);
    plan = plan_;
  }
  JsonWriter json;
  json.begin_object();
  json.member("model", m.name);
  json.member("variant", variant_name_);
  json.key("variants");
  json.begin_list();
  for (const auto& entry : m.variants) json.value(entry.first);
  json.end_list();
  json.member("labels", m.labels);
  json.key("inputs");
  write_inputs(json, m);
  json.member("exits", m.exits.size());
  json.member("operating_point", plan->name().empty() ? std::nullopt : std::optional(plan->name()));
  json.member("thresholds", plan->thresholds());
  json.key("watch");
  plan->watch() ? json.value(std::vector<double>{plan->watch()->low, plan->watch()->high}) : json.null();
  json.key("operating_points");
  write_points(json, variant_);
  json.member("threads", graphs_->threads().count);
  json.member("pool", pool_name());
  json.member("warning", warning_);
  write_memory(json, m, variant_, graphs_->not_loaded());
  json.key("engine");
  json.begin_object();
  json.member("name", graphs_->engine().name());
  json.member("version", graphs_->engine().version());
  json.member("library", graphs_->engine().library());
  json.end_object();
  json.end_object();
  return json.take();
}

}  // namespace eetool
