// What a model did, as JSON and as text for Prometheus.
#include "json_writer.hpp"
#include "model.hpp"
#include "text.hpp"

namespace eetool {
namespace {

void write_latencies(JsonWriter& json, const std::optional<LatencyFigures>& latency_ms) {
  if (!latency_ms) return json.null();
  json.begin_object();
  json.member("mean", latency_ms->mean);
  json.member("p50", latency_ms->p50);
  json.member("p90", latency_ms->p90);
  json.member("p99", latency_ms->p99);
  json.end_object();
}

void write_drift(JsonWriter& json, const Figures& f) {
  if (!f.drift) return json.null();
  json.begin_list();
  for (const auto& test : *f.drift) {
    if (!test) {
      json.null();
      continue;
    }
    json.begin_object();
    json.member("n", test->n);
    json.member("mean", test->mean);
    json.member("expected_mean", test->expected_mean);
    json.member("z", test->z);
    json.member("p", test->p);
    json.end_object();
  }
  json.end_list();
}

void write_figures(JsonWriter& json, const Figures& f) {
  json.member("calls", f.calls);
  json.member("exit_counts", f.exit_counts);
  json.member("exit_shares", f.exit_shares);
  json.member("exit_shares_expected", f.exit_shares_expected);
  json.member("mean_exit_depth", f.mean_exit_depth);
  json.member("mean_confidence", f.mean_confidence);
  json.member("mean_macs", f.mean_macs);
  json.member("compute_saved", f.compute_saved);
  json.key("latency_ms");
  write_latencies(json, f.latency_ms);
  json.member("latency_ms_sum", f.latency_ms_sum);
  json.member("ungated", f.ungated);
  json.member("overruns", f.overruns);
  json.key("drift");
  write_drift(json, f);
}

using Labels = std::vector<std::pair<std::string, std::string>>;

/// The families of samples of a page for Prometheus, version 0.0.4 of its text format.
class PrometheusPage {
 public:
  explicit PrometheusPage(Labels base) : base_(std::move(base)) {}

  void begin(const std::string& name, const char* kind, const char* help) {
    family_ = "eetool_" + name;
    header_ = "# HELP " + family_ + " " + help + "\n# TYPE " + family_ + " " + kind + "\n";
  }

  /// Add a sample; the first one brings the header of its family.
  void sample(const std::string& suffix, const Labels& labels, const std::string& value) {
    text_ += header_ + family_ + suffix + "{";
    header_.clear();
    bool first = true;
    for (const Labels* part : {static_cast<const Labels*>(&base_), &labels}) {
      for (const auto& [key, label] : *part) {
        text_ += (first ? "" : ",") + key + "=\"" + escaped(label) + "\"";
        first = false;
      }
    }
    text_ += "} " + value + "\n";
  }

  void sample(const Labels& labels, const std::optional<double>& value) {
    if (value) sample("", labels, float_text(*value));
  }

  std::string take() { return std::move(text_); }

 private:
  static std::string escaped(const std::string& label) {
    std::string text;
    for (const char c : label) {
      if (c == '\\' || c == '"') text += '\\';
      c == '\n' ? text += "\\n" : text += c;
    }
    return text;
  }

  Labels base_;
  std::string family_, header_, text_;
};

using Points = std::map<std::string, Figures>;

void add_latencies(PrometheusPage& page, const Points& points) {
  page.begin("latency_ms", "summary", "Milliseconds per call; quantiles of recent calls.");
  for (const auto& [point, f] : points) {
    const Labels labels = {{"operating_point", point}};
    const auto quantile = [&, &point = point](const char* share, double value) {
      page.sample({{"operating_point", point}, {"quantile", share}}, value);
    };
    if (f.latency_ms) {
      quantile("0.5", f.latency_ms->p50);
      quantile("0.9", f.latency_ms->p90);
      quantile("0.99", f.latency_ms->p99);
    }
    page.sample("_sum", labels, float_text(f.latency_ms_sum));
    page.sample("_count", labels, std::to_string(f.calls));
  }
}

void add_drift(PrometheusPage& page, const Points& points, double DriftFigures::* figure) {
  for (const auto& [point, f] : points) {
    for (std::size_t k = 0; f.drift && k < f.drift->size(); ++k) {
      const auto& test = (*f.drift)[k];
      if (test) page.sample({{"operating_point", point}, {"exit", std::to_string(k)}}, *test.*figure);
    }
  }
}

}  // namespace

std::string Model::stats_json() const {
  const Statistics s = statistics();
  JsonWriter json;
  json.begin_object();
  write_figures(json, s.points.at(s.current()));
  json.member("operating_point", s.plan->name().empty() ? std::nullopt : std::optional(s.plan->name()));
  json.member("model", manifest().name);
  json.member("variant", variant_name_);
  json.member("threads", graphs_->threads().count);
  json.member("pool", pool_name());
  json.key("operating_points");
  json.begin_object();
  for (const auto& [name, figures] : s.points) {
    json.key(name);
    json.begin_object();
    write_figures(json, figures);
    json.end_object();
  }
  json.end_object();
  json.end_object();
  return json.take();
}

std::string Model::prometheus_text() const {
  const Statistics s = statistics();
  PrometheusPage page({{"model", manifest().name}, {"variant", variant_name_}});
  page.begin("info", "gauge", "Settings in use.");
  page.sample(
      {{"threads", std::to_string(graphs_->threads().count)}, {"pool", pool_name()}, {"operating_point", s.current()}},
      1.0);
  page.begin("exits_total", "counter", "Calls by the exit where they left.");
  for (const auto& [point, f] : s.points) {
    for (std::size_t k = 0; k < f.exit_counts.size(); ++k) {
      page.sample("", {{"operating_point", point}, {"exit", std::to_string(k)}}, std::to_string(f.exit_counts[k]));
    }
  }
  page.begin("ungated_total", "counter", "Calls that a deadline ended before a gate fired.");
  for (const auto& [point, f] : s.points) page.sample("", {{"operating_point", point}}, std::to_string(f.ungated));
  page.begin("overruns_total", "counter", "Calls that took longer than their deadline.");
  for (const auto& [point, f] : s.points) page.sample("", {{"operating_point", point}}, std::to_string(f.overruns));
  page.begin("compute_saved_ratio", "gauge", "1 - mean MACs / MACs of the unsplit model.");
  for (const auto& [point, f] : s.points) page.sample({{"operating_point", point}}, f.compute_saved);
  page.begin("exit_depth_mean", "gauge", "Mean exit index.");
  for (const auto& [point, f] : s.points) page.sample({{"operating_point", point}}, f.mean_exit_depth);
  add_latencies(page, s.points);
  page.begin("confidence_drift_z", "gauge",
             "Confidence against the bundle's figures, in standard errors, by exit reached.");
  add_drift(page, s.points, &DriftFigures::z);
  page.begin("confidence_drift_p", "gauge", "Two-sided p-value of that difference.");
  add_drift(page, s.points, &DriftFigures::p);
  return page.take();
}

}  // namespace eetool
