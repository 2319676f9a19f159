#include "loaded_graphs.hpp"

#include <algorithm>
#include <set>

#include "error.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr std::int64_t kSmallMacs = 200'000;  // a component with fewer finishes before a second thread starts

/// Return whether two types agree; a symbol matches every size and every other symbol.
bool matches(const Tensor& declared, const Tensor& actual) {
  if (declared.dtype != actual.dtype || declared.shape.size() != actual.shape.size()) return false;
  for (std::size_t i = 0; i < declared.shape.size(); ++i) {
    const auto* expected = std::get_if<std::int64_t>(&declared.shape[i]);
    const auto* found = std::get_if<std::int64_t>(&actual.shape[i]);
    if (expected != nullptr && found != nullptr && *expected != *found) return false;
  }
  return true;
}

void check_side(const Component& component, const char* kind, const std::vector<std::string>& names,
                const Named<Tensor>& actual, const std::map<std::string, Tensor>& declared) {
  std::set<std::string> found;
  for (const auto& [name, tensor] : actual) found.insert(printable(name, 100));
  if (found != std::set<std::string>(names.begin(), names.end()) || actual.size() != names.size()) {
    throw bundle_error(component.name + ": its graph has the " + kind + " " +
                       printable(join({found.begin(), found.end()})) + "; the manifest says " + join(names));
  }
  for (const auto& [name, tensor] : actual) {
    if (!matches(declared.at(name), tensor)) {
      throw bundle_error(component.name + ": " + in_quotes(name) + " is " + printable(describe(tensor)) +
                         " in the graph; the manifest says " + describe(declared.at(name)));
    }
  }
}

}  // namespace

LoadedGraphs::LoadedGraphs(std::shared_ptr<const Bundle> bundle, const std::string& variant,
                           std::shared_ptr<Engine> engine, Threads threads, bool preload)
    : bundle_(std::move(bundle)),
      variant_(bundle_->variant(variant)),
      engine_(std::move(engine)),
      threads_(threads),
      declared_(all_tensors(bundle_->manifest, variant_)),
      graphs_(bundle_->manifest.components.size()) {
  const Manifest& m = bundle_->manifest;
  if (const std::string* path = variant_.shared_file()) {
    open_shared(*path);
    return;
  }
  for (std::size_t position = 0; position < graphs_.size(); ++position) {
    graphs_[position] = open(position);
    if (position == 0) threads_ = graphs_[0]->threads();
    if (!preload && m.components[position].name == m.exits[0].component) break;
  }
}

LoadedGraphs::LoadedGraphs(std::shared_ptr<const Bundle> bundle, std::shared_ptr<Engine> engine,
                           std::vector<std::shared_ptr<Graph>> graphs)
    : bundle_(std::move(bundle)),
      variant_(bundle_->manifest.variants[0].second),
      engine_(std::move(engine)),
      graphs_(std::move(graphs)) {}

Graph& LoadedGraphs::graph(std::size_t position) {
  const std::lock_guard lock(mutex_);
  if (!graphs_[position]) graphs_[position] = open(position);
  return *graphs_[position];
}

std::vector<std::string> LoadedGraphs::not_loaded() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (std::size_t position = 0; position < graphs_.size(); ++position) {
    if (!graphs_[position]) names.push_back(bundle_->manifest.components[position].name);
  }
  return names;
}

std::shared_ptr<Graph> LoadedGraphs::open(std::size_t position) const {
  const Component& component = bundle_->manifest.components[position];
  const std::string& path = find(variant_.components, component.name)->path;
  const bool is_small = graphs_[0] && threads_.pool == Pool::per_graph && component.macs < kSmallMacs;
  auto graph = engine_->open(path, bundle_->read(path), is_small ? Threads{} : threads_);
  check(component, *graph);
  return graph;
}

/// Open the one file of the variant: its engine loads all components at once.
void LoadedGraphs::open_shared(const std::string& path) {
  const auto opened = engine_->open_shared(path, bundle_->read(path), threads_);
  std::vector<std::string> names;
  for (const Component& component : bundle_->manifest.components) names.push_back(component.name);
  std::vector<std::string> found;
  for (const auto& entry : opened) found.push_back(printable(entry.first, 100));
  std::sort(found.begin(), found.end());
  std::vector<std::string> expected = names;
  std::sort(expected.begin(), expected.end());
  if (found != expected) {
    throw bundle_error(path + ": has the signatures " + printable(join(found)) + "; the manifest says " +
                       join(expected));
  }
  for (std::size_t position = 0; position < graphs_.size(); ++position) {
    graphs_[position] = *find(opened, names[position]);
    check(bundle_->manifest.components[position], *graphs_[position]);
  }
  threads_ = graphs_[0]->threads();
}

void LoadedGraphs::check(const Component& component, const Graph& graph) const {
  check_side(component, "inputs", component.inputs, graph.inputs(), declared_);
  check_side(component, "outputs", component.outputs, graph.outputs(), declared_);
}

}  // namespace eetool
