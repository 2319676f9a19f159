#include "latency_estimator.hpp"

#include <algorithm>

namespace eetool {
namespace {

constexpr double kQuantile = 0.95;
constexpr std::size_t kMinMeasurements = 8;  // of this process, after which the latencies of the bundle are ignored
constexpr std::size_t kUpdateEvery = 10;     // measurements; sorting the window after each would be slow
constexpr double kMargin = 1.5;              // factor on a median or on an extrapolation
constexpr double kDecay = 0.998;  // per call that an estimate ended: so that one outlier does not block for ever

}  // namespace

void LatencyEstimator::record(const PlanSection& section, std::int64_t latency_ns) {
  const std::lock_guard lock(mutex_);
  measured_[{section.after, section.gate.exit}].add(latency_ns);
}

bool LatencyEstimator::fits(const PlanSection& section, std::int64_t left_ns, std::int64_t spent_ns,
                            std::uint64_t spent_macs) {
  const std::lock_guard lock(mutex_);
  const auto found = measured_.find({section.after, section.gate.exit});
  const auto left = static_cast<double>(left_ns);
  if (found == measured_.end() || !found->second.estimate_ns) return extrapolate(section, spent_ns, spent_macs) <= left;
  double& estimate_ns = *found->second.estimate_ns;
  if (estimate_ns <= left) return true;
  estimate_ns *= kDecay;
  return false;
}

double LatencyEstimator::extrapolate(const PlanSection& section, std::int64_t spent_ns,
                                     std::uint64_t spent_macs) const {
  double recorded_ms = 0;
  bool known = true;
  for (const PlanStep& step : section.steps) {
    known &= component_ms_[step.position].has_value();
    recorded_ms += component_ms_[step.position].value_or(0);
  }
  if (known) return kMargin * 1e6 * recorded_ms;
  const double share = spent_macs > 0 ? static_cast<double>(section.macs) / static_cast<double>(spent_macs) : 1;
  return kMargin * static_cast<double>(spent_ns) * share;
}

void LatencyEstimator::RecentLatencies::add(std::int64_t latency_ns) {
  recent_ns[count++ % recent_ns.size()] = latency_ns;
  // Updated regularly, and at once where the estimate was too low.
  const bool late = estimate_ns && static_cast<double>(latency_ns) > *estimate_ns;
  if (count >= kMinMeasurements && (!estimate_ns || late || count % kUpdateEvery == 0)) estimate();
}

void LatencyEstimator::RecentLatencies::estimate() {
  auto sorted = recent_ns;
  const std::size_t size = std::min(count, sorted.size());
  const auto place = sorted.begin() + static_cast<std::ptrdiff_t>(kQuantile * static_cast<double>(size - 1));
  std::nth_element(sorted.begin(), place, sorted.begin() + static_cast<std::ptrdiff_t>(size));
  estimate_ns = static_cast<double>(*place);
}

}  // namespace eetool
