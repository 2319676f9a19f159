// Rules of names, shapes, wiring and exits.
#include <algorithm>
#include <array>
#include <set>

#include "error.hpp"
#include "manifest_checks.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr std::array<std::string_view, 6> kDtypes = {"float32", "int64", "int32", "uint8", "int8", "bool"};
constexpr std::array<std::string_view, 3> kKinds = {"segment", "exit", "joined"};
constexpr std::array<std::string_view, 3> kFits = {"crop", "pad", "stretch"};
constexpr std::array<std::string_view, 1> kFilters = {"bilinear"};
constexpr std::array<std::string_view, 2> kSegmentations = {"runs", "unicode-17"};
constexpr std::size_t kMaxRank = 8;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 31;

template <typename List>
bool contains(const List& list, std::string_view value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

void check_name(const std::string& name) {
  require_or(is_name(name), [&] { return in_quotes(name) + " is not a name (letters, digits, '.', '_', '-')"; });
}

void check_text(const std::string& text) {
  require_or(is_text(text),
             [&] { return in_quotes(text) + ": 1 to 256 characters are needed, no control characters"; });
}

void check_shape(const std::string& where, const Tensor& tensor) {
  require_or(contains(kDtypes, tensor.dtype), [&] { return where + ".dtype: unknown " + in_quotes(tensor.dtype); });
  require_or(!tensor.shape.empty() && tensor.shape.size() <= kMaxRank, [&] {
    return where + ".shape: " + std::to_string(tensor.shape.size()) + " dimensions; 1 to 8 are allowed";
  });
  std::int64_t elements = 1;
  for (const Dimension& dimension : tensor.shape) {
    if (const auto* size = std::get_if<std::int64_t>(&dimension)) {
      require_or(*size > 0, [&] { return where + ".shape: " + std::to_string(*size) + " is no dimension"; });
      require_or(*size <= kMaxElements / elements, [&] { return where + ".shape: too many elements"; });
      elements *= *size;
    } else {
      const std::string& symbol = std::get<std::string>(dimension);
      require_or(is_name(symbol), [&] { return where + ".shape: " + in_quotes(symbol) + " is no dimension"; });
    }
  }
}

/// Refuse a rule that this version does not have; a newer one may.
template <typename List>
void check_known(const std::string& where, const std::string& value, const List& known) {
  if (contains(known, value)) return;
  std::string names;
  for (const std::string_view name : known) names += (names.empty() ? "" : ", ") + std::string(name);
  throw bundle_error("manifest.json: " + where + ": " + in_quotes(value) + " is none of " + names,
                     "Install a newer runtime, or export the bundle again with this version.");
}

bool is_size(const Dimension& dimension) { return std::holds_alternative<std::int64_t>(dimension); }

void check_preprocess(const std::string& where, const Tensor& tensor, const Preprocess& rule) {
  const auto& shape = tensor.shape;
  const bool image = shape.size() == 4 && std::all_of(shape.begin() + 1, shape.end(), is_size);
  require_or(image && tensor.dtype == "float32",
             [&] { return where + ".preprocess: needs float32 (batch, channels, height, width)"; });
  const auto channels = static_cast<std::size_t>(std::get<std::int64_t>(shape[1]));
  require_or(rule.mean.size() == channels && rule.std.size() == channels,
             [&] { return where + ".preprocess: one mean and one std per channel is needed"; });
  require_or(std::all_of(rule.std.begin(), rule.std.end(), is_scale),
             [&] { return where + ".preprocess.std: must lie in [1e-6, 1e6]"; });
  if (rule.resize) {
    check_known(where + ".preprocess.resize.fit", rule.resize->fit, kFits);
    check_known(where + ".preprocess.resize.filter", rule.resize->filter, kFilters);
  }
}

void check_vocabulary(const std::string& where, const Input& input) {
  const auto& shape = input.tensor.shape;
  const bool ids = shape.size() == 2 && is_size(shape[1]) && input.tensor.dtype == "int64";
  require_or(ids && !input.preprocess, [&] { return where + ".text: needs int64 (batch, tokens) and no preprocess"; });
  const auto& words = input.text->vocabulary;
  require_or(std::set<std::string>(words.begin(), words.end()).size() == words.size(),
             [&] { return where + ".text.vocabulary: words must differ"; });
  check_known(where + ".text.segmentation", input.text->segmentation, kSegmentations);
}

void check_view(const std::string& where, const Input& input, const std::vector<Input>& inputs) {
  require_or(is_name(*input.picture), [&] { return where + ".picture: is no name"; });
  require_or(input.preprocess && input.preprocess->resize,
             [&] { return where + ".picture: needs preprocess with a rule resize"; });
  const auto& shape = input.tensor.shape;
  for (const Input& other : inputs) {
    const auto& theirs = other.tensor.shape;
    require_or(other.picture != input.picture || (theirs.size() > 1 && theirs[1] == shape[1]),
               [&] { return where + ".picture: its views need the same number of channels"; });
  }
}

using Names = std::set<std::string>;

/// Check one component against the tensors known before it, and add its outputs to them.
void check_component(const Manifest& m, const Component& c, Names& known, Names& outputs) {
  const std::string where = "components." + c.name;
  require_or(contains(kKinds, c.kind), [&] { return where + ".kind: unknown " + in_quotes(c.kind); });
  require_or(c.macs >= 0 && c.parameters >= 0, [&] { return where + ": macs and parameters cannot be negative"; });
  require_or(Names(c.inputs.begin(), c.inputs.end()).size() == c.inputs.size(),
             [&] { return where + ".inputs: names must differ"; });
  for (const std::string& name : c.inputs) {
    require_or(known.count(name) != 0,
               [&] { return where + ".inputs: " + in_quotes(name) + " is made by no input and no earlier component"; });
  }
  for (const std::string& name : c.outputs) {
    require_or(known.insert(name).second, [&] { return where + ".outputs: " + in_quotes(name) + " exists already"; });
    require_or(find(m.tensors, name) != nullptr,
               [&] { return where + ".outputs: " + in_quotes(name) + " has no entry in tensors"; });
    outputs.insert(name);
  }
}

void check_exit(const Manifest& m, std::size_t index, std::size_t position) {
  const Exit& exit = m.exits[index];
  const std::string where = "exits[" + std::to_string(index) + "]";
  const auto& outputs = m.components[position].outputs;
  for (const std::string& name : {exit.logits, exit.confidence}) {
    require_or(contains(outputs, name), [&] {
      return where + ": the component " + in_quotes(exit.component) + " does not make " + in_quotes(name);
    });
  }
  const Tensor logits{"float32", {std::string(kBatch), static_cast<std::int64_t>(m.labels.size())}};
  require_or(*find(m.tensors, exit.logits) == logits,
             [&] { return where + ".logits: must be " + describe(logits) + ", one per label"; });
  const Tensor confidence{"float32", {std::string(kBatch)}};
  require_or(*find(m.tensors, exit.confidence) == confidence,
             [&] { return where + ".confidence: must be float32 (batch), one number per input"; });
}

}  // namespace

void check_names(const Manifest& m) {
  check_name(m.name);
  check_name(m.score);
  for (const auto& [name, tensor] : m.tensors) check_name(name);
  for (const Component& c : m.components) check_name(c.name);
  for (const Input& i : m.inputs) check_name(i.name);
  for (const Exit& e : m.exits) {
    check_name(e.temperature);
    for (const auto& name : {e.slope, e.offset}) {
      if (name) check_name(*name);
    }
  }
  for (const auto& [key, v] : m.variants) {
    for (const auto& [name, point] : v.operating_points) check_name(name);
    for (const auto& [name, path] : v.references) check_name(name);
    require_or(is_variant(key), [&, &key = key] { return "variants: " + in_quotes(key) + " is not FORMAT/PRECISION"; });
  }
}

void check_texts(const Manifest& m) {
  for (const Input& i : m.inputs) {
    if (i.text) std::for_each(i.text->vocabulary.begin(), i.text->vocabulary.end(), check_text);
  }
  std::for_each(m.labels.begin(), m.labels.end(), check_text);
  for (const auto& [program, version] : m.producer) check_text(program), check_text(version);
  for (const Exit& e : m.exits) {
    if (e.tap) check_text(*e.tap);
  }
  for (const auto& [name, device] : m.devices) check_text(name), check_text(device.machine);
  for (const auto& [key, v] : m.variants) {
    for (const auto& [name, point] : v.operating_points) {
      if (point.expected) check_text(point.expected->split);
    }
  }
  if (m.data) {
    check_text(m.data->source);
    for (const auto& [name, split] : m.data->splits) check_text(name);
  }
}

void check_shapes(const Manifest& m) {
  for (const auto& [name, tensor] : m.tensors) check_shape("tensors." + name, tensor);
  for (const auto& [key, v] : m.variants) {
    for (const auto& [name, tensor] : v.tensors) check_shape("variants." + key + ".tensors." + name, tensor);
  }
  for (const Input& input : m.inputs) {
    const std::string where = "inputs." + input.name;
    check_shape(where, input.tensor);
    require_or(input.tensor.shape[0] == Dimension{std::string(kBatch)},
               [&] { return where + ".shape: the first dimension must be 'batch'"; });
    if (input.preprocess) check_preprocess(where, input.tensor, *input.preprocess);
    if (input.text) check_vocabulary(where, input);
    if (input.picture) check_view(where, input, m.inputs);
  }
}

void check_wiring(const Manifest& m) {
  require(!m.inputs.empty(), "inputs: at least one is needed");
  require(!m.exits.empty(), "exits: at least the final one is needed");
  Names known;
  bool differ = true;
  for (const Input& input : m.inputs) differ &= known.insert(input.name).second;
  for (const Exit& exit : m.exits) {
    const bool calibrated = m.exits[0].slope.has_value();
    require(exit.slope.has_value() == calibrated && exit.offset.has_value() == calibrated,
            "exits: all or none have a slope and an offset");
    differ &= known.insert(exit.temperature).second;
    if (calibrated) differ &= known.insert(*exit.slope).second && known.insert(*exit.offset).second;
  }
  require(differ, "inputs and temperatures: names must differ");
  Names outputs, names;
  for (const Component& c : m.components) {
    check_component(m, c, known, outputs);
    require(names.insert(c.name).second, "components: names must differ");
  }
  for (const auto& [name, tensor] : m.tensors) {
    require_or(outputs.count(name) != 0, [&, &name = name] { return "tensors." + name + ": no component makes it"; });
  }
  require(!m.unsplit_macs || *m.unsplit_macs >= 0, "unsplit_macs: cannot be negative");
}

void check_exits(const Manifest& m) {
  std::size_t next = 0;  // the exits follow the order of the components, one in each
  for (std::size_t k = 0; k < m.exits.size(); ++k) {
    const std::string& name = m.exits[k].component;
    const auto has_name = [&](const Component& c) { return c.name == name; };
    const auto found = std::find_if(m.components.begin(), m.components.end(), has_name);
    require_or(found != m.components.end(),
               [&] { return "exits[" + std::to_string(k) + "].component: there is no component " + in_quotes(name); });
    const auto position = static_cast<std::size_t>(found - m.components.begin());
    check_exit(m, k, position);
    require(position >= next, "exits: they must follow the order of the components, one in each");
    next = position + 1;
  }
  for (const Component& c : m.components) {
    const bool has_exit =
        std::any_of(m.exits.begin(), m.exits.end(), [&](const Exit& e) { return e.component == c.name; });
    require(has_exit == (c.kind != "segment"), "exits: every component but a segment needs an exit, and no other");
  }
}

void check_manifest(const Manifest& manifest) {
  for (const auto check : {check_names, check_texts, check_shapes, check_wiring, check_exits, check_variants,
                           check_data, check_devices, check_stream, check_offload, check_files}) {
    check(manifest);
  }
}

}  // namespace eetool
