// Rules of variants, their policies, data, devices and files.
#include <algorithm>
#include <cmath>
#include <set>

#include "manifest_checks.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr double kMaxTolerance = 0.1, kMaxFloatTolerance = 1e-3;  // of samples; no export writes more
constexpr std::int64_t kMaxFileBytes = std::int64_t{1} << 31;
constexpr std::int64_t kMaxThreads = 1024;

bool is_share(double number) { return number >= 0 && number <= 1; }

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void check_certificate(const std::string& where, const Certificate& c) {
  require_or(is_text(c.method), [&] { return where + ".method: 1 to 256 characters are needed"; });
  require_or(c.confidence > 0 && c.confidence < 1 && c.max_accuracy_drop >= 0 && c.max_accuracy_drop <= 100,
             [&] { return where + ": confidence or max_accuracy_drop is out of range"; });
  const bool valid = c.n > 0 && c.worse >= 0 && c.better >= 0 && c.worse + c.better <= c.n && is_share(c.p_value);
  require_or(valid, [&] { return where + ": a number is out of range"; });
}

void check_policy(const Manifest& m, const std::string& where, const Variant& v) {
  require_or(v.temperatures.size() == m.exits.size(), [&] { return where + ".temperatures: one per exit is needed"; });
  require_or(std::all_of(v.temperatures.begin(), v.temperatures.end(), is_scale),
             [&] { return where + ".temperatures: must lie in [1e-6, 1e6]"; });
  const std::size_t count = m.exits[0].slope ? m.exits.size() : 0;
  require_or(v.slopes.size() == count && v.offsets.size() == count,
             [&] { return where + ".slopes and .offsets: one per exit that has one is needed"; });
  require_or(std::all_of(v.slopes.begin(), v.slopes.end(), is_scale),
             [&] { return where + ".slopes: must lie in [1e-6, 1e6]"; });
  const auto in_range = [](double offset) { return std::abs(offset) <= kMaxScale; };
  require_or(std::all_of(v.offsets.begin(), v.offsets.end(), in_range),
             [&] { return where + ".offsets: must lie in [-1e6, 1e6]"; });
  require_or(find(v.operating_points, m.default_operating_point) != nullptr, [&] {
    return where + ".operating_points: the default " + in_quotes(m.default_operating_point) + " is missing";
  });
  for (const auto& [name, point] : v.operating_points) {
    const std::string at = where + ".operating_points." + name;
    require_or(point.thresholds.size() == m.early_exits(),
               [&] { return at + ".thresholds: one per early exit is needed"; });
    for (const auto& t : point.thresholds) {
      require_or(!t || (*t >= 0 && *t <= kNever),
                 [&] { return at + ".thresholds: " + number_text(*t) + " does not lie in [0, 2.0]"; });
    }
    if (point.expected) check_expected(m, at + ".expected", *point.expected);
    if (point.certificate) check_certificate(at + ".certificate", *point.certificate);
  }
}

void check_graph_file(const std::string& where, const GraphFile& g) {
  require_or(g.precision == "fp32" || g.precision == "int8",
             [&] { return where + ".precision: unknown " + in_quotes(g.precision); });
  require_or(g.max_abs_error >= 0 && g.tolerance.value_or(0) >= 0,
             [&] { return where + ": errors cannot be negative"; });
}

/// Require files of the variant's format: one for each component, or from version 1.1 on, in TFLite, one for all.
void check_graph_files(const Manifest& m, const std::string& where, const std::string& format, const Variant& v) {
  const auto check_path = [&](const std::string& path) {
    require_or(ends_with(path, "." + format),
               [&] { return where + ": " + in_quotes(path) + " is no " + format + " file"; });
  };
  const std::string* const shared = v.shared_file();
  require_or(shared == nullptr || (format == "tflite" && m.minor_version > 0), [&] {
    return where + ": " + in_quotes(*shared) + " is no " + format + " file of version 1." +
           std::to_string(m.minor_version);
  });
  for (const auto& [name, graph] : v.components) {
    if (shared == nullptr) check_path(graph.path);
    require_or(shared == nullptr || graph.path == *shared,
               [&] { return where + ": all components must be in " + in_quotes(*shared) + ", or none"; });
  }
  for (const auto& [name, path] : v.references) check_path(path);
}

void check_variant(const Manifest& m, const std::string& key, const Variant& v) {
  const std::string where = "variants." + key;
  std::set<std::string> names, graphs;
  for (const Component& c : m.components) names.insert(c.name);
  for (const auto& [name, graph] : v.components) graphs.insert(name);
  require_or(names == graphs, [&] { return where + ".components: must name every component and nothing else"; });
  const std::size_t slash = key.find('/');
  const double limit = key.substr(slash + 1) == "fp32" ? kMaxFloatTolerance : kMaxTolerance;
  require_or(v.samples_tolerance >= 0 && v.samples_tolerance <= limit,
             [&] { return where + ".samples_tolerance: must lie in [0, " + number_text(limit) + "]"; });
  require_or(!v.batch || *v.batch > 0, [&] { return where + ".batch: must be positive or null"; });
  for (const auto& [name, tensor] : v.tensors) {
    const auto is_output = [&, &name = name](const Exit& e) { return e.logits == name || e.confidence == name; };
    const bool intermediate =
        find(m.tensors, name) != nullptr && std::none_of(m.exits.begin(), m.exits.end(), is_output);
    require_or(intermediate, [&, &name = name] {
      return where + ".tensors: " + in_quotes(name) + " is no tensor between components";
    });
  }
  for (const auto& [name, graph] : v.components) check_graph_file(where + ".components." + name, graph);
  check_graph_files(m, where, key.substr(0, slash), v);
  check_policy(m, where, v);
}

void check_used(const Manifest& m, const std::string& path) {
  require_or(find(m.files, path) != nullptr, [&] { return "files: " + in_quotes(path) + " is used and not listed"; });
}

}  // namespace

void check_expected(const Manifest& m, const std::string& where, const Expected& e) {
  require_or(e.n > 0 && is_share(e.accuracy), [&] { return where + ": accuracy or n is out of range"; });
  require_or(e.exit_shares.size() == m.exits.size(), [&] { return where + ".exit_shares: one per exit is needed"; });
  require_or(e.reached.size() == m.exits.size(), [&] { return where + ".reached: one entry per exit is needed"; });
  double sum = 0;
  bool positive = true;
  for (const double share : e.exit_shares) sum += share, positive &= share >= 0;
  require_or(positive && std::abs(sum - 1) <= 1e-6,
             [&] { return where + ".exit_shares: must be shares that sum to 1"; });
  require_or(e.mean_exit_depth >= 0 && e.mean_exit_depth <= static_cast<double>(m.early_exits()),
             [&] { return where + ".mean_exit_depth: is out of range"; });
  require_or(e.mean_macs >= 0, [&] { return where + ".mean_macs: cannot be negative"; });
  for (const auto& r : e.reached) {
    const bool valid = !r || (r->n > 0 && r->n <= e.n && is_share(r->confidence_mean) && is_share(r->confidence_std));
    require_or(valid, [&] { return where + ".reached: a number is out of range"; });
  }
}

void check_variants(const Manifest& m) {
  require(!m.variants.empty(), "variants: at least one is needed");
  for (const auto& [key, v] : m.variants) check_variant(m, key, v);
}

void check_data(const Manifest& m) {
  const auto& drop = m.max_accuracy_drop;
  require(!drop || (*drop >= 0 && *drop <= 100), "max_accuracy_drop: must lie in [0, 100] or be null");
  if (!m.data) return;
  for (const auto& [name, split] : m.data->splits) {
    require_or(split.n >= 0 && is_sha256(split.sha256),
               [&, &name = name] { return "data.splits." + name + ": a count and a SHA-256 are needed"; });
  }
}

void check_devices(const Manifest& m) {
  for (const auto& [device, settings] : m.devices) {
    for (const auto& [key, measured] : settings.variants) {
      const std::string where = "devices." + device + ".variants." + key;
      require_or(find(m.variants, key) != nullptr, [&] { return where + ": there is no such variant"; });
      require_or(measured.threads >= 1 && measured.threads <= kMaxThreads,
                 [&] { return where + ".threads: must lie in [1, 1024]"; });
      for (const auto& [name, milliseconds] : measured.component_latency_ms) {
        const auto has_name = [&, &name = name](const Component& c) { return c.name == name; };
        require_or(std::any_of(m.components.begin(), m.components.end(), has_name),
                   [&] { return where + ".component_latency_ms: names a component that is not there"; });
        require_or(milliseconds >= 0, [&] { return where + ".component_latency_ms: cannot be negative"; });
      }
    }
  }
}

void check_files(const Manifest& m) {
  for (const auto& [path, file] : m.files) {
    require_or(is_path(path),
               [&, &path = path] { return "files: " + in_quotes(path) + " is not a plain relative path"; });
    require_or(is_sha256(file.sha256), [&, &path = path] { return "files." + path + ".sha256: not a SHA-256"; });
    require_or(file.size_bytes >= 0 && file.size_bytes <= kMaxFileBytes, [&, &path = path] {
      return "files." + path + ".size_bytes: must lie in [0, " + std::to_string(kMaxFileBytes) + "]";
    });
  }
  check_used(m, m.samples);
  for (const auto& [key, v] : m.variants) {
    for (const auto& [name, graph] : v.components) check_used(m, graph.path);
    for (const auto& [name, path] : v.references) check_used(m, path);
    check_used(m, v.samples);
  }
}

}  // namespace eetool
