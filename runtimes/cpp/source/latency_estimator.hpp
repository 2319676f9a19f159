// Conservative latency estimates of plan sections, for calls with a deadline.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "execution_plan.hpp"

namespace eetool {

/// The estimate is the 95th percentile of the last 100 latencies under a deadline.
///
/// With fewer than 8, it is the median that the bundle recorded for this machine, or else the latency of the call so
/// far, scaled by MACs; both are multiplied by 1.5.
class LatencyEstimator {
 public:
  /// `component_ms` is the recorded latency of each component by position, empty where unknown.
  explicit LatencyEstimator(std::vector<std::optional<double>> component_ms) : component_ms_(std::move(component_ms)) {}

  const std::vector<std::optional<double>>& component_ms() const { return component_ms_; }

  /// Add one measured latency of a section.
  void record(const PlanSection& section, std::int64_t latency_ns);

  /// Return whether a section is expected to finish in `left_ns`, after a call of `spent_ns` and `spent_macs` so far.
  bool fits(const PlanSection& section, std::int64_t left_ns, std::int64_t spent_ns, std::uint64_t spent_macs);

 private:
  struct RecentLatencies {
    std::array<std::int64_t, 100> recent_ns{};
    std::size_t count = 0;  // of all that were added
    std::optional<double> estimate_ns;

    void add(std::int64_t latency_ns);
    void estimate();
  };

  double extrapolate(const PlanSection& section, std::int64_t spent_ns, std::uint64_t spent_macs) const;

  std::vector<std::optional<double>> component_ms_;
  std::mutex mutex_;
  std::map<std::pair<int, int>, RecentLatencies> measured_;  // by the exits of both gates
};

}  // namespace eetool
