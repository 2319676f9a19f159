// Statistics of a model at one operating point: exits, depth, compute, latency and confidence drift.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "manifest.hpp"

namespace eetool {

/// Confidence at one gate that a call reached.
struct SeenConfidence {
  int exit;
  double confidence;
};

/// What one call did. `seen` are the gates that the thresholds alone let the input reach.
struct CallRecord {
  int exit = 0;
  double confidence = 0;
  std::uint64_t macs = 0;
  double latency_ms = 0;
  const SeenConfidence* seen = nullptr;
  std::size_t seen_count = 0;
  bool gated = true;     // false where a deadline ended the call
  bool overrun = false;  // true where it took longer than its deadline
};

/// Latencies of recent calls.
struct LatencyFigures {
  double mean, p50, p90, p99;
};

/// Test of the mean confidence at an exit against the recorded one (Welch's test).
struct DriftFigures {
  std::size_t n;
  double mean, expected_mean, z, p;
};

/// Figures of one operating point. Shares, means and percentiles are empty before the first call.
struct Figures {
  std::uint64_t calls = 0;
  std::vector<std::uint64_t> exit_counts;
  std::optional<std::vector<double>> exit_shares, exit_shares_expected;
  std::optional<double> mean_exit_depth;
  std::vector<std::optional<double>> mean_confidence;  // of the inputs that left at each exit
  std::optional<double> mean_macs, compute_saved;
  std::optional<LatencyFigures> latency_ms;
  double latency_ms_sum = 0;
  std::uint64_t ungated = 0, overruns = 0;
  std::optional<std::vector<std::optional<DriftFigures>>> drift;
};

/// Thread-safe counters.
///
/// Counts cover all calls since loading. Latencies and confidences cover the last calls since this point was selected.
class Stats {
 public:
  explicit Stats(std::size_t exits);

  /// Record one call, without allocation.
  void record(const CallRecord& call);

  /// Clear latencies and confidences, and keep the counts; called when this point is selected again.
  void start_window();

  /// Return the figures; `expected` are those of the bundle, or null.
  Figures figures(std::uint64_t unsplit_macs, const Expected* expected) const;

 private:
  /// The last values of a kind, in a ring.
  template <typename T>
  struct Ring {
    explicit Ring(std::size_t capacity) : values(capacity) {}
    std::size_t size() const { return count < values.size() ? count : values.size(); }
    T& next() { return values[count++ % values.size()]; }

    std::vector<T> values;
    std::size_t count = 0;
  };
  struct Leaving {
    int exit;
    double confidence;
    std::size_t seen_count;
  };

  struct State {
    explicit State(std::size_t exits);

    std::vector<std::uint64_t> exits;
    std::uint64_t macs = 0;
    double total_ms = 0;
    std::uint64_t ungated = 0;
    std::uint64_t overruns = 0;
    Ring<double> latency_ms;
    Ring<Leaving> window;
    std::vector<SeenConfidence> seen;  // of each call in `window`, one place per exit
  };

  mutable std::mutex mutex_;
  State state_;
};

}  // namespace eetool
