// Execution plans: the components that run under given thresholds, and the gates between them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "stats.hpp"

namespace eetool {

inline constexpr int kStart = -1;  // exit index before exit 0: the beginning of a call

/// Band of the watchdog: an early exit whose confidence lies in it, bounds included, sends the input to full depth.
struct Band {
  double low;
  double high;
};

/// Decision to leave at `exit` where its confidence is at least `threshold`.
struct Gate {
  int exit;
  double threshold;
};

/// One component to run: its position in the manifest, the gate after it, and the MACs up to and with it.
struct PlanStep {
  std::size_t position;
  std::optional<Gate> gate;
  std::uint64_t macs;
};

/// The steps between two gates: the exit of the one before (or kStart), the gate at the end, and their MACs alone.
struct PlanSection {
  int after;
  Gate gate;
  std::vector<PlanStep> steps;
  std::uint64_t macs;
};

using PlanSections = std::vector<PlanSection>;

/// Plan for one set of thresholds, shared by concurrent calls.
class ExecutionPlan {
 public:
  /// Throws a usage error where thresholds or band are out of range. `name` is empty for unnamed thresholds.
  ExecutionPlan(const Manifest& manifest, Thresholds thresholds, std::string name, std::optional<Band> watch,
                std::shared_ptr<Stats> stats);

  const std::vector<PlanStep>& steps() const { return steps_; }
  const Thresholds& thresholds() const { return thresholds_; }
  const std::string& name() const { return name_; }
  const std::optional<Band>& watch() const { return watch_; }
  Stats& stats() const { return *stats_; }
  const std::shared_ptr<Stats>& shared_stats() const { return stats_; }

  /// Return the sections between all gates from `min_exit` on; negative exits count from the end.
  ///
  /// With `anytime`, every exit from there on is computed, even where its gate cannot fire. Throws a usage error.
  const PlanSections& sections(int min_exit, bool anytime) const;

  /// Return the section from an exit to the final one, without the exits that are not needed.
  const PlanSection& remaining_section(int exit) const;

 private:
  const Manifest& manifest_;
  Thresholds thresholds_;
  std::string name_;
  std::optional<Band> watch_;
  std::shared_ptr<Stats> stats_;
  std::vector<PlanStep> steps_;
  mutable std::mutex mutex_;
  mutable std::map<std::pair<int, bool>, PlanSections> sections_;
  mutable std::map<int, PlanSection> remaining_;
};

/// Return the components to run under `thresholds`, in order; throws a usage error.
std::vector<PlanStep> plan_steps(const Manifest& manifest, const Thresholds& thresholds);

/// Return the MACs of the backbone without early exits; of full depth without gates where unrecorded.
std::uint64_t unsplit_macs(const Manifest& manifest);

}  // namespace eetool
