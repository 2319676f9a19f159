#include "execution_plan.hpp"

#include <set>

#include "error.hpp"
#include "text.hpp"

namespace eetool {
namespace {

/// Return the positions of the components that the gates depend on, directly or through their inputs.
std::set<std::size_t> needed_positions(const Manifest& m, const std::map<std::string, Gate>& gates) {
  std::set<std::size_t> needed;
  std::set<std::string> tensors;
  for (std::size_t position = m.components.size(); position-- > 0;) {
    const Component& c = m.components[position];
    bool is_needed = gates.count(c.name) != 0;
    for (const std::string& name : c.outputs) is_needed |= tensors.count(name) != 0;
    if (is_needed) {
      needed.insert(position);
      tensors.insert(c.inputs.begin(), c.inputs.end());
    }
  }
  return needed;
}

PlanSections split_at_gates(const std::vector<PlanStep>& steps) {
  PlanSections sections;
  std::size_t first = 0;
  std::uint64_t macs_before = 0;
  int after = kStart;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (!steps[i].gate) continue;
    const auto begin = steps.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = steps.begin() + static_cast<std::ptrdiff_t>(i + 1);
    sections.push_back({after, *steps[i].gate, {begin, end}, steps[i].macs - macs_before});
    first = i + 1, macs_before = steps[i].macs, after = steps[i].gate->exit;
  }
  return sections;
}

}  // namespace

std::vector<PlanStep> plan_steps(const Manifest& m, const Thresholds& thresholds) {
  if (thresholds.size() != m.early_exits()) {
    throw usage_error(std::to_string(thresholds.size()) + " thresholds given; the model has " +
                      std::to_string(m.early_exits()) + " early exits");
  }
  std::map<std::string, Gate> gates;
  for (std::size_t k = 0; k < m.exits.size(); ++k) {
    const bool is_final = k == thresholds.size();
    const std::optional<double> threshold = is_final ? 0.0 : thresholds[k];
    if (!threshold) continue;
    if (!(*threshold >= 0 && *threshold <= kNever)) {  // NaN fails this test too
      throw usage_error("threshold " + number_text(*threshold) + " is out of range",
                        "Confidences lie in [0, 1]; above 1, to 2, and as EE_NO_GATE a gate never fires.");
    }
    gates[m.exits[k].component] = {static_cast<int>(k), *threshold};
  }
  std::vector<PlanStep> steps;
  std::uint64_t macs = 0;  // unsigned, because those of a hostile manifest may overflow
  for (const std::size_t position : needed_positions(m, gates)) {
    const Component& c = m.components[position];
    macs += static_cast<std::uint64_t>(c.macs);
    const auto gate = gates.find(c.name);
    steps.push_back({position, gate == gates.end() ? std::nullopt : std::optional(gate->second), macs});
  }
  return steps;
}

std::uint64_t unsplit_macs(const Manifest& m) {
  if (m.unsplit_macs) return static_cast<std::uint64_t>(*m.unsplit_macs);
  return plan_steps(m, Thresholds(m.early_exits())).back().macs;
}

ExecutionPlan::ExecutionPlan(const Manifest& manifest, Thresholds thresholds, std::string name,
                             std::optional<Band> watch, std::shared_ptr<Stats> stats)
    : manifest_(manifest),
      thresholds_(std::move(thresholds)),
      name_(std::move(name)),
      watch_(watch),
      stats_(std::move(stats)),
      steps_(plan_steps(manifest, thresholds_)) {
  if (watch && !(watch->low >= 0 && watch->low <= watch->high && watch->high <= 1)) {
    throw usage_error("watch is (" + number_text(watch->low) + ", " + number_text(watch->high) +
                      "); a band (low, high) with 0 <= low <= high <= 1 is needed");
  }
}

const PlanSections& ExecutionPlan::sections(int min_exit, bool anytime) const {
  const int n = static_cast<int>(manifest_.exits.size());
  if (min_exit < -n || min_exit >= n) {
    throw usage_error("min_exit is " + std::to_string(min_exit) + "; this model has the exits 0 to " +
                      std::to_string(n - 1));
  }
  const int first = min_exit < 0 ? min_exit + n : min_exit;
  const std::lock_guard lock(mutex_);
  const auto found = sections_.find({first, anytime});
  if (found != sections_.end()) return found->second;
  Thresholds later(thresholds_.size());
  for (std::size_t k = static_cast<std::size_t>(first); k < thresholds_.size(); ++k) {
    later[k] = thresholds_[k] || !anytime ? thresholds_[k] : kNever;
  }
  return sections_[{first, anytime}] = split_at_gates(plan_steps(manifest_, later));
}

const PlanSection& ExecutionPlan::remaining_section(int exit) const {
  const PlanSection& last = sections(-1, false).back();
  const std::lock_guard lock(mutex_);
  const auto found = remaining_.find(exit);
  if (found != remaining_.end()) return found->second;
  std::size_t position = 0;
  while (manifest_.components[position].name != manifest_.exits[static_cast<std::size_t>(exit)].component) ++position;
  PlanSection section{exit, last.gate, {}, 0};
  for (const PlanStep& step : last.steps) {
    if (step.position <= position) continue;
    section.steps.push_back(step);
    section.macs += static_cast<std::uint64_t>(manifest_.components[step.position].macs);
  }
  return remaining_[exit] = std::move(section);
}

}  // namespace eetool
