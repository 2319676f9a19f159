// Loaded models, which several threads may use at once; each runs its inputs in a session of its own.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "bundle.hpp"
#include "engine.hpp"
#include "execution_plan.hpp"
#include "fork_guard.hpp"
#include "latency_estimator.hpp"
#include "loaded_graphs.hpp"

namespace eetool {

using Clock = std::int64_t (*)();  // nanoseconds, never turned back

std::int64_t steady_clock_ns();

/// How a model is loaded. Empty strings and a count of 0 leave the choice to the runtime.
struct ModelOptions {
  std::string variant;
  std::string format;   // of graphs: `onnx`
  std::string library;  // path of the engine's shared library
  std::int64_t thread_count = 0;
  Pool pool = Pool::per_graph;
  bool preload = true;
  Clock clock = steady_clock_ns;
};

/// A loaded bundle with an operating point in use. It belongs to the process that loaded it.
class Model {
 public:
  /// Open and check a bundle and load its graphs; throws every kind of error.
  static std::shared_ptr<Model> open(const std::string& path, const ModelOptions& options);

  /// Make a model of opened graphs, which models of the same variant may share.
  Model(std::shared_ptr<const Bundle> bundle, const std::string& variant, std::shared_ptr<LoadedGraphs> graphs,
        Clock clock);

  const Manifest& manifest() const { return bundle_->manifest; }
  const Variant& variant() const { return variant_; }
  Clock clock() const { return clock_; }
  LatencyEstimator& latency() { return latency_; }
  LoadedGraphs& graphs() { return *graphs_; }

  /// Throw a backend error in a child that was forked after loading.
  void check_process() const { fork_guard_.check(); }

  /// True in such a child, where nothing of the engine may be freed.
  bool is_foreign() const { return fork_guard_.is_foreign(); }

  /// Select an operating point by name; calls under way finish as begun. Throws a usage error.
  void use(const std::string& operating_point, std::optional<Band> watch);

  /// Set thresholds directly; throws a usage error.
  void use(const Thresholds& thresholds, std::optional<Band> watch);

  /// Refresh `plan` where another setting is in use since `version`; cheap where it is not.
  void update(std::shared_ptr<const ExecutionPlan>& plan, std::uint64_t& version) const;

  /// Refuse all further calls.
  void close() { is_closed_.store(true, std::memory_order_relaxed); }
  bool is_closed() const { return is_closed_.load(std::memory_order_relaxed); }

  /// Return what the model is: names, inputs, exits, operating points, engine and settings.
  std::string info_json() const;

  /// Return the statistics of the operating point in use, and those of all points used, as JSON or as text for
  /// Prometheus.
  std::string stats_json() const;
  std::string prometheus_text() const;

 private:
  /// The plan in use, and the figures of every operating point that was used.
  struct Statistics {
    std::shared_ptr<const ExecutionPlan> plan;
    std::map<std::string, Figures> points;

    std::string current() const { return plan->name().empty() ? kCustom : plan->name(); }
  };

  static constexpr const char* kCustom = "custom";  // operating point under which unnamed thresholds are counted

  Statistics statistics() const;
  const char* pool_name() const { return graphs_->threads().pool == Pool::per_process ? "process" : "private"; }
  void set_plan(const Thresholds& thresholds, const std::string& name, std::optional<Band> watch);

  std::shared_ptr<const Bundle> bundle_;
  std::string variant_name_;
  const Variant& variant_;
  Clock clock_;
  ForkGuard fork_guard_;
  std::shared_ptr<LoadedGraphs> graphs_;
  LatencyEstimator latency_;
  std::uint64_t unsplit_macs_;
  std::optional<std::string> warning_;  // where the default operating point does not pay
  mutable std::mutex mutex_;  // of the plan and the statistics by name
  std::shared_ptr<const ExecutionPlan> plan_;
  std::atomic<std::uint64_t> plan_version_{0};
  std::map<std::string, std::shared_ptr<Stats>> stats_;
  std::atomic<bool> is_closed_{false};
};

}  // namespace eetool
