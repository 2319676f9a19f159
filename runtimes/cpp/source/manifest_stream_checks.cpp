// Rules of the policies for streams. The native runtime does not run streams, but refuses what other readers refuse.
#include <algorithm>
#include <cmath>

#include "manifest_checks.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr double kMinRate = 1e-6, kMaxSeconds = 1e9;
constexpr std::int64_t kMaxCheck = 1'000'000'000;

bool is_between(double number, double low, double high) { return number >= low && number <= high; }

bool sums_to_one(const std::vector<double>& shares) {
  double sum = 0;
  for (const double share : shares) sum += share;
  return std::abs(sum - 1) <= 1e-6;
}

void check_stream_policy(const Manifest& m, const std::string& where, const StreamPolicy& p) {
  require_or(is_between(p.epsilon, kMinRate, 1), [&] { return where + ".epsilon: must lie in [1e-06, 1]"; });
  require_or(p.thresholds.size() == m.early_exits(),
             [&] { return where + ".thresholds: one per early exit is needed"; });
  for (const auto& t : p.thresholds) {
    require_or(!t || is_between(*t, 0, kNever),
               [&] { return where + ".thresholds: " + number_text(*t) + " does not lie in [0, 2.0]"; });
  }
  require_or(p.check_every >= 0 && p.check_every <= kMaxCheck,
             [&] { return where + ".check_every: must lie in [0, 1000000000]"; });
  require_or(!p.skip_distance || is_between(*p.skip_distance, 0, 1),
             [&] { return where + ".skip_distance: must lie in [0, 1] or be null"; });
  require_or(!p.gap_s || (*p.gap_s > 0 && *p.gap_s <= kMaxSeconds),
             [&] { return where + ".gap_s: must lie in (0, 1e+09] or be null"; });
}

void check_stream_expected(const Manifest& m, const std::string& where, const StreamExpected& e) {
  require_or(is_text(e.split), [&] { return where + ".split: 1 to 256 characters are needed"; });
  require_or(e.sequences >= 1 && e.sequences <= e.n, [&] { return where + ".sequences: must lie in [1, n]"; });
  require_or(is_between(e.accuracy, 0, 1), [&] { return where + ".accuracy: must lie in [0, 1]"; });
  require_or(e.exit_shares.size() == m.exits.size() && e.reached.size() == m.exits.size(),
             [&] { return where + ".exit_shares and reached: one per exit is needed"; });
  const auto is_positive = [](double share) { return share >= 0; };
  require_or(std::all_of(e.exit_shares.begin(), e.exit_shares.end(), is_positive) && sums_to_one(e.exit_shares),
             [&] { return where + ".exit_shares: must be shares that sum to 1"; });
  for (const auto& r : e.reached) {
    const bool valid = !r || (r->n > 0 && r->n <= e.n && is_between(r->confidence_mean, 0, 1) &&
                              is_between(r->confidence_std, 0, 1));
    require_or(valid, [&] { return where + ".reached: a number is out of range"; });
  }
  const bool positive = e.mean_macs >= 0 && e.reaction_mean_s.value_or(0) >= 0 && e.reaction_p95_s.value_or(0) >= 0 &&
                        e.false_switches_per_minute.value_or(0) >= 0;
  require_or(positive, [&] { return where + ": a number is negative"; });
}

}  // namespace

void check_stream(const Manifest& m) {
  if (!m.stream) return;
  const Stream& s = *m.stream;
  require(m.minor_version > 0, "stream: version 1.0 has no such field");
  require(s.period_s > 0 && s.period_s <= kMaxSeconds, "stream.period_s: must lie in (0, 1e+09]");
  require(s.base_rates.size() == m.labels.size(), "stream.base_rates: one per class is needed");
  const auto is_rate = [](double rate) { return rate >= kMinRate; };
  require(std::all_of(s.base_rates.begin(), s.base_rates.end(), is_rate) && sums_to_one(s.base_rates),
          "stream.base_rates: must be at least 1e-06 and sum to 1");
  require(!s.operating_points.empty(), "stream.operating_points: at least one variant is needed");
  for (const auto& [variant, points] : s.operating_points) {
    const std::string where = "stream.operating_points." + variant;
    require_or(find(m.variants, variant) != nullptr, [&] { return where + ": there is no such variant"; });
    require_or(find(points, s.default_operating_point) != nullptr,
               [&] { return where + ": the default " + in_quotes(s.default_operating_point) + " is missing"; });
    for (const auto& [name, point] : points) {
      require_or(is_name(name), [&, &name = name] { return in_quotes(name) + " is not a name"; });
      check_stream_policy(m, where + "." + name + ".policy", point.policy);
      if (point.expected) check_stream_expected(m, where + "." + name + ".expected", *point.expected);
    }
  }
}

}  // namespace eetool
