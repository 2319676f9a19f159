// Rules of what a server computes. The native runtime does not offload, but refuses what other readers refuse.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "manifest_checks.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr double kMinStep = 1e-12, kMaxStep = 1e12;
constexpr std::int64_t kMaxByte = 255;
constexpr std::size_t kHashDigits = 8, kMaxModel = 128;

const std::map<std::string, std::string> kOwnTypes = {{"float32", "FP32"}, {"int64", "INT64"}, {"int32", "INT32"},
                                                      {"uint8", "UINT8"},  {"int8", "INT8"},   {"bool", "BOOL"}};
const std::map<std::string, std::string> kWireTypes = {{"fp32", "FP32"}, {"fp16", "FP16"}, {"uint8", "UINT8"}};

/// Return whether `text` is a name that ends in '-' and the first digits of a hash.
bool is_model(const std::string& text) {
  if (text.size() < kHashDigits + 2 || text.size() > kMaxModel || !is_name(text)) return false;
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  const auto digits = text.end() - static_cast<std::ptrdiff_t>(kHashDigits);
  return *(digits - 1) == '-' && std::all_of(digits, text.end(), is_digit);
}

bool is_made_of_pixels(const Manifest& m, const std::string& name) {
  return std::any_of(m.inputs.begin(), m.inputs.end(), [&](const Input& i) {
    return i.name == name && i.preprocess && i.preprocess->scale != 0;
  });
}

/// Return the types of the tensors that exist at the cut.
std::map<std::string, Tensor> tensors_at_cut(const Manifest& m, const OffloadSpec& s) {
  std::map<std::string, Tensor> known;
  for (const Input& i : m.inputs) known[i.name] = i.tensor;
  if (!s.after_exit) return known;
  const std::string& last = m.exits[static_cast<std::size_t>(*s.after_exit)].component;
  for (const Component& c : m.components) {
    for (const std::string& name : c.outputs) known[name] = *find(m.tensors, name);
    if (c.name == last) break;
  }
  return known;
}

void check_encoding(const Manifest& m, const std::string& wire, const std::string& dtype, const OffloadInput& i) {
  const std::string where = "offload.inputs." + i.tensor;
  const bool floating = dtype == "float32";
  require_or(i.dtype == kOwnTypes.at(dtype) || (floating && i.dtype == kWireTypes.at(wire)),
             [&] { return where + ".dtype: " + in_quotes(i.dtype) + " is not what " + dtype + " travels in"; });
  require_or(i.scale.has_value() == i.zero_point.has_value(),
             [&] { return where + ".scale and zero_point: both are needed, or none"; });
  const bool quantised = floating && i.dtype == "UINT8";
  if (i.scale) {
    require_or(quantised, [&] { return where + ".scale: " + i.dtype + " has none"; });
    require_or(*i.scale >= kMinStep && *i.scale <= kMaxStep && *i.zero_point >= 0 && *i.zero_point <= kMaxByte,
               [&] { return where + ".scale and zero_point: must lie in [1e-12, 1e+12] and [0, 255]"; });
  } else {
    require_or(!quantised || is_made_of_pixels(m, i.tensor),
               [&] { return where + ".scale: only an input that is made of pixels travels without one"; });
  }
}

void check_inputs(const Manifest& m, const OffloadSpec& s) {
  std::set<std::string> tensors;
  for (const OffloadInput& i : s.inputs) tensors.insert(i.tensor);
  require(!s.inputs.empty() && tensors.size() == s.inputs.size(),
          "offload.inputs: at least one is needed, each tensor once");
  const std::map<std::string, Tensor> known = tensors_at_cut(m, s);
  for (const OffloadInput& i : s.inputs) {
    const auto found = known.find(i.tensor);
    require_or(found != known.end(), [&] { return "offload.inputs: " + in_quotes(i.tensor) + " is not at the cut"; });
    const auto* symbol = std::get_if<std::string>(&found->second.shape[0]);
    require_or(symbol != nullptr && *symbol == kBatch,
               [&] { return "offload.inputs." + i.tensor + ": its first dimension must be 'batch'"; });
    check_encoding(m, s.wire, found->second.dtype, i);
  }
}

void check_outputs(const Manifest& m, const OffloadSpec& s) {
  bool in_order = s.outputs.size() == m.exits.size() - s.first_exit();
  std::vector<std::string> names;
  for (std::size_t k = 0; k < s.outputs.size(); ++k) {
    in_order &= s.outputs[k].exit == static_cast<std::int64_t>(s.first_exit() + k);
    names.insert(names.end(), {s.outputs[k].logits, s.outputs[k].confidence});
  }
  require(in_order, "offload.outputs: one per exit behind after_exit is needed, in order");
  for (const OffloadInput& i : s.inputs) names.push_back(i.name);
  for (const std::string& name : names)
    require_or(is_name(name), [&] { return "offload: " + in_quotes(name) + " is not a name"; });
  for (std::size_t k = s.first_exit(); k < m.exits.size(); ++k) {
    names.push_back(m.exits[k].temperature);
    if (m.exits[k].slope) names.insert(names.end(), {*m.exits[k].slope, *m.exits[k].offset});
  }
  require(std::set<std::string>(names.begin(), names.end()).size() == names.size(),
          "offload.inputs and outputs: names of the server's model must differ");
}

void check_point(const Manifest& m, const std::string& where, const OffloadPoint& p) {
  require_or(p.thresholds.size() == m.early_exits(),
             [&] { return where + ".thresholds: one per early exit is needed"; });
  for (const auto& t : p.thresholds) {
    require_or(!t || (*t >= 0 && *t <= kNever),
               [&] { return where + ".thresholds: " + number_text(*t) + " does not lie in [0, 2.0]"; });
  }
  const double share = p.offload_share.value_or(0);
  require_or(share >= 0 && share <= 1, [&] { return where + ".offload_share: must lie in [0, 1] or be null"; });
  for (const auto& expected : {p.link_up, p.link_down}) {
    if (!expected) continue;
    require_or(is_text(expected->split), [&] { return where + ": a split needs 1 to 256 characters"; });
    check_expected(m, where, *expected);
  }
}

void check_policy(const Manifest& m, const std::string& where, const Variant& v, const OffloadPolicy& p) {
  const auto are_scales = [](const std::vector<double>& numbers, std::size_t count) {
    return numbers.size() == count && std::all_of(numbers.begin(), numbers.end(), is_scale);
  };
  const std::size_t count = m.exits[0].slope ? m.exits.size() : 0;
  require_or(are_scales(p.temperatures, m.exits.size()),
             [&] { return where + ".temperatures: one per exit in [1e-6, 1e6] is needed"; });
  require_or(are_scales(p.slopes, count),
             [&] { return where + ".slopes: one per exit that has one, in [1e-6, 1e6]"; });
  const auto in_range = [](double offset) { return std::abs(offset) <= kMaxScale; };
  require_or(p.offsets.size() == count && std::all_of(p.offsets.begin(), p.offsets.end(), in_range),
             [&] { return where + ".offsets: one per exit that has one, in [-1e6, 1e6]"; });
  for (const auto& [name, point] : p.operating_points) {
    const std::string at = where + ".operating_points." + name;
    require_or(find(v.operating_points, name) != nullptr,
               [&] { return at + ": the variant has no such operating point"; });
    check_point(m, at, point);
  }
}

}  // namespace

void check_offload(const Manifest& m) {
  if (!m.offload) return;
  const OffloadSpec& s = *m.offload;
  require(m.minor_version > 0, "offload: version 1.0 has no such field");
  const auto early = static_cast<std::int64_t>(m.early_exits());
  require(!s.after_exit || (*s.after_exit >= 0 && *s.after_exit < early),
          "offload.after_exit: must be an early exit or null");
  require(is_model(s.model), "offload.model: must be a name, '-', and 8 hexadecimal digits");
  require(kWireTypes.count(s.wire) > 0, "offload.wire: must be one of fp32, fp16, uint8");
  check_outputs(m, s);
  check_inputs(m, s);
  require(!s.variants.empty(), "offload.variants: at least one is needed");
  for (const auto& [name, policy] : s.variants) {
    const std::string where = "offload.variants." + name;
    const Variant* const variant = find(m.variants, name);
    require_or(variant != nullptr, [&] { return where + ": there is no such variant"; });
    for (const OffloadInput& i : s.inputs) {
      require_or(find(variant->tensors, i.tensor) == nullptr,
                 [&] { return where + ": " + in_quotes(i.tensor) + " has another type in this variant"; });
    }
    check_policy(m, where, *variant, policy);
  }
}

}  // namespace eetool
