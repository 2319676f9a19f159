#include "model.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <chrono>

#include "default_point.hpp"
#include "error.hpp"
#include "machine.hpp"
#include "text.hpp"

namespace eetool {
namespace {

std::string format_of(const std::string& variant) { return variant.substr(0, variant.find('/')); }

template <typename T>
std::string names_of(const Named<T>& entries) {
  std::vector<std::string> names;
  for (const auto& entry : entries) names.push_back(entry.first);
  return join(names);
}

/// Return the requested variant, or the first one that an engine runs here, and that engine.
std::pair<std::string, std::shared_ptr<Engine>> choose_variant(const Bundle& bundle, const ModelOptions& options) {
  if (!options.variant.empty()) {
    bundle.variant(options.variant);
    const std::string format = format_of(options.variant);
    if (!options.format.empty() && options.format != format) {
      throw usage_error("the " + in_quotes(options.format) + " backend does not run the variant " +
                        in_quotes(options.variant));
    }
    return {options.variant, engine_for(format, options.library)};
  }
  Error problem = usage_error(bundle.name + " has no variant for backend " + in_quotes(options.format),
                              "It has: " + names_of(bundle.manifest.variants) + ".");
  for (const auto& entry : bundle.manifest.variants) {
    const std::string format = format_of(entry.first);
    if (!options.format.empty() && options.format != format) continue;
    try {
      return {entry.first, engine_for(format, options.library)};
    } catch (const Error& error) {  // the library that the preferred variant lacks is what the user can mend
      if (problem.status() != Status::backend) problem = error;
    }
  }
  throw problem;
}

/// Give memory back to the system that the allocator keeps: loading frees about as much as the files are large.
void release_freed_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

/// Return the measurement of a variant on this kind of machine that the bundle holds, if any.
const Measured* recorded_measurement(const Manifest& m, const std::string& variant) {
  if (m.devices.empty()) return nullptr;
  const std::string machine = machine_name();
  for (const auto& [name, settings] : m.devices) {
    if (settings.machine != machine) continue;
    if (const Measured* measured = find(settings.variants, variant)) return measured;
  }
  return nullptr;
}

Threads requested_threads(const ModelOptions& options, const Measured* measured) {
  if (options.thread_count < 0)
    throw usage_error("threads must be at least 1, not " + std::to_string(options.thread_count));
  if (options.thread_count > kMaxThreads) {
    throw usage_error("threads must be at most 1024, not " + std::to_string(options.thread_count));
  }
  if (options.thread_count > 0) return {options.thread_count, options.pool};
  return {measured != nullptr ? std::min(measured->threads, usable_cores()) : 1, options.pool};
}

/// Return the recorded latency of each component, where it was measured with as many threads.
std::vector<std::optional<double>> component_latencies(const Manifest& m, const Measured* measured, Threads granted) {
  std::vector<std::optional<double>> latencies(m.components.size());
  if (measured == nullptr || measured->threads != granted.count) return latencies;
  for (std::size_t i = 0; i < latencies.size(); ++i) {
    if (const double* known = find(measured->component_latency_ms, m.components[i].name)) latencies[i] = *known;
  }
  return latencies;
}

}  // namespace

std::int64_t steady_clock_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

std::shared_ptr<Model> Model::open(const std::string& path, const ModelOptions& options) {
  requested_threads(options, nullptr);
  const auto bundle = open_bundle(path);
  auto [variant, engine] = choose_variant(*bundle, options);
  const std::int64_t batch = bundle->variant(variant).batch.value_or(1);
  if (batch != 1) {
    throw usage_error("the variant " + variant + " has the batch size " + std::to_string(batch) + ", not 1");
  }
  const Threads threads = requested_threads(options, recorded_measurement(bundle->manifest, variant));
  auto graphs = std::make_shared<LoadedGraphs>(bundle, variant, std::move(engine), threads, options.preload);
  release_freed_memory();
  return std::make_shared<Model>(bundle, variant, std::move(graphs), options.clock);
}

Model::Model(std::shared_ptr<const Bundle> bundle, const std::string& variant, std::shared_ptr<LoadedGraphs> graphs,
             Clock clock)
    : bundle_(std::move(bundle)),
      variant_name_(variant),
      variant_(bundle_->variant(variant)),
      clock_(clock),
      graphs_(std::move(graphs)),
      latency_(component_latencies(manifest(), recorded_measurement(manifest(), variant), graphs_->threads())),
      unsplit_macs_(unsplit_macs(manifest())),
      warning_(default_point_warning(manifest(), variant_, latency_.component_ms())) {
  use(manifest().default_operating_point, std::nullopt);
}

void Model::use(const std::string& operating_point, std::optional<Band> watch) {
  const OperatingPoint* point = find(variant_.operating_points, operating_point);
  if (point == nullptr) {
    throw usage_error("unknown operating point " + in_quotes(operating_point),
                      "This bundle has: " + names_of(variant_.operating_points) + ".");
  }
  set_plan(point->thresholds, operating_point, watch);
}

void Model::use(const Thresholds& thresholds, std::optional<Band> watch) { set_plan(thresholds, "", watch); }

void Model::set_plan(const Thresholds& thresholds, const std::string& name, std::optional<Band> watch) {
  const std::lock_guard lock(mutex_);
  const bool is_same = plan_ && plan_->name() == name && plan_->thresholds() == thresholds;
  std::shared_ptr<Stats> stats;
  if (is_same) {
    stats = plan_->shared_stats();
  } else {
    // A named point goes on counting; unnamed thresholds start new counters.
    const auto known = name.empty() ? stats_.end() : stats_.find(name);
    stats = known != stats_.end() ? known->second : std::make_shared<Stats>(manifest().exits.size());
  }
  plan_ = std::make_shared<const ExecutionPlan>(manifest(), thresholds, name, watch, stats);
  if (!is_same) stats->start_window();
  stats_[name.empty() ? kCustom : name] = stats;
  plan_version_.fetch_add(1, std::memory_order_release);
}

void Model::update(std::shared_ptr<const ExecutionPlan>& plan, std::uint64_t& version) const {
  if (plan_version_.load(std::memory_order_acquire) == version) return;
  const std::lock_guard lock(mutex_);
  plan = plan_;
  version = plan_version_.load(std::memory_order_relaxed);
}

Model::Statistics Model::statistics() const {
  Statistics statistics;
  std::map<std::string, std::shared_ptr<Stats>> all;
  {
    const std::lock_guard lock(mutex_);
    all = stats_;
    statistics.plan = plan_;
  }
  for (const auto& [name, stats] : all) {
    const OperatingPoint* point = find(variant_.operating_points, name);
    const Expected* expected = point != nullptr && point->expected ? &*point->expected : nullptr;
    statistics.points[name] = stats->figures(unsplit_macs_, expected);
  }
  return statistics;
}

}  // namespace eetool
