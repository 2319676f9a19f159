#include "stats.hpp"

#include <algorithm>
#include <cmath>

namespace eetool {
namespace {

constexpr std::size_t kMaxLatencies = 10'000;  // calls whose latencies are kept
constexpr std::size_t kMaxCalls = 1'000;       // calls whose confidences are kept
constexpr std::size_t kMinForTest = 30;        // with fewer values, their mean is not close to a normal distribution

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// Return a quantile of sorted values, interpolated between neighbours.
double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
}

std::optional<LatencyFigures> percentiles(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  return LatencyFigures{mean(values), quantile(values, 0.5), quantile(values, 0.9), quantile(values, 0.99)};
}

std::optional<DriftFigures> welch(const std::vector<double>& values, const std::optional<ReachedConfidence>& recorded) {
  if (!recorded || values.size() < kMinForTest) return std::nullopt;
  const auto n = static_cast<double>(values.size());
  const double average = mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - average) * (value - average);
  const double recorded_variance = recorded->confidence_std * recorded->confidence_std;
  const double variance = squares / (n - 1) / n + recorded_variance / static_cast<double>(recorded->n);
  if (variance == 0) return std::nullopt;
  const double z = (average - recorded->confidence_mean) / std::sqrt(variance);
  return DriftFigures{values.size(), average, recorded->confidence_mean, z, std::erfc(std::abs(z) / std::sqrt(2.0))};
}

}  // namespace

Stats::State::State(std::size_t n) : exits(n), latency_ms(kMaxLatencies), window(kMaxCalls), seen(kMaxCalls * n) {}

Stats::Stats(std::size_t exits) : state_(exits) {}

void Stats::record(const CallRecord& call) {
  const std::lock_guard lock(mutex_);
  ++state_.exits[static_cast<std::size_t>(call.exit)];
  state_.macs += call.macs;
  state_.total_ms += call.latency_ms;
  state_.ungated += call.gated ? 0 : 1;
  state_.overruns += call.overrun ? 1 : 0;
  state_.latency_ms.next() = call.latency_ms;
  const std::size_t place = state_.window.count % kMaxCalls * state_.exits.size();
  state_.window.next() = {call.exit, call.confidence, call.seen_count};
  std::copy_n(call.seen, call.seen_count, state_.seen.begin() + static_cast<std::ptrdiff_t>(place));
}

void Stats::start_window() {
  const std::lock_guard lock(mutex_);
  state_.latency_ms.count = state_.window.count = 0;
}

Figures Stats::figures(std::uint64_t unsplit_macs, const Expected* expected) const {
  State state(0);
  {
    const std::lock_guard lock(mutex_);
    state = state_;
  }
  const std::size_t exits = state.exits.size();
  std::vector<std::vector<double>> left_with(exits), reached_with(exits);  // confidences; NaN has no part in means
  for (std::size_t i = 0; i < state.window.size(); ++i) {
    const Leaving& call = state.window.values[i];
    if (std::isfinite(call.confidence)) left_with[static_cast<std::size_t>(call.exit)].push_back(call.confidence);
    for (std::size_t s = 0; s < call.seen_count; ++s) {
      const SeenConfidence& seen = state.seen[i * exits + s];
      if (std::isfinite(seen.confidence)) reached_with[static_cast<std::size_t>(seen.exit)].push_back(seen.confidence);
    }
  }
  Figures f;
  f.exit_counts = state.exits;
  double depth = 0;
  for (std::size_t k = 0; k < exits; ++k) {
    f.calls += state.exits[k];
    depth += static_cast<double>(k) * static_cast<double>(state.exits[k]);
    f.mean_confidence.push_back(left_with[k].empty() ? std::nullopt : std::optional(mean(left_with[k])));
  }
  if (f.calls > 0) {
    const auto calls = static_cast<double>(f.calls);
    f.exit_shares.emplace();
    for (const std::uint64_t count : state.exits) f.exit_shares->push_back(static_cast<double>(count) / calls);
    f.mean_exit_depth = depth / calls;
    f.mean_macs = static_cast<double>(state.macs) / calls;
    if (unsplit_macs > 0) f.compute_saved = 1 - *f.mean_macs / static_cast<double>(unsplit_macs);
  }
  state.latency_ms.values.resize(state.latency_ms.size());
  f.latency_ms = percentiles(std::move(state.latency_ms.values));
  f.latency_ms_sum = state.total_ms;
  f.ungated = state.ungated;
  f.overruns = state.overruns;
  if (expected != nullptr) {
    f.exit_shares_expected = expected->exit_shares;
    f.drift.emplace();
    for (std::size_t k = 0; k < exits; ++k) f.drift->push_back(welch(reached_with[k], expected->reached[k]));
  }
  return f;
}

}  // namespace eetool
