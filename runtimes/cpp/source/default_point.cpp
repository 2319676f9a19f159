#include "default_point.hpp"

#include <algorithm>

#include "execution_plan.hpp"
#include "text.hpp"

namespace eetool {
namespace {

double mean_ms(const Manifest& m, const Thresholds& thresholds, const std::vector<double>& shares,
               const std::vector<std::optional<double>>& component_ms) {
  double total = 0, spent = 0;
  for (const PlanStep& step : plan_steps(m, thresholds)) {
    spent += *component_ms[step.position];
    if (step.gate) total += shares[static_cast<std::size_t>(step.gate->exit)] * spent;
  }
  return total;
}

}  // namespace

std::optional<std::string> default_point_warning(const Manifest& m, const Variant& variant,
                                                 const std::vector<std::optional<double>>& component_ms) {
  const OperatingPoint& point = *find(variant.operating_points, m.default_operating_point);
  if (!point.expected || m.early_exits() == 0) return std::nullopt;
  const auto& shares = point.expected->exit_shares;
  double cost = point.expected->mean_macs, whole = static_cast<double>(unsplit_macs(m));
  std::string figures = number_text(cost / 1e6, 4) + " M MACs, " + number_text(whole / 1e6, 4);
  figures += " M without early exits";
  if (std::all_of(component_ms.begin(), component_ms.end(), [](const auto& ms) { return ms.has_value(); })) {
    std::vector<double> final_exit(shares.size());
    final_exit.back() = 1;
    cost = mean_ms(m, point.thresholds, shares, component_ms);
    whole = mean_ms(m, Thresholds(m.early_exits()), final_exit, component_ms);
    figures = number_text(cost, 3) + " ms of components measured on this machine, " + number_text(whole, 3);
    figures += " ms without early exits";
  }
  if (cost < whole) return std::nullopt;
  return m.name + ": the default operating point " + in_quotes(m.default_operating_point) +
         " does not pay: in the mean " + figures;
}

}  // namespace eetool
