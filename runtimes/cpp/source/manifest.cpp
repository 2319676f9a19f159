#include "manifest.hpp"

namespace eetool {

const std::string* Variant::shared_file() const {
  for (const auto& [name, graph] : components) {
    const std::string& path = graph.path;
    const std::size_t size = kSharedFileEnding.size();
    if (path.size() >= size && path.compare(path.size() - size, size, kSharedFileEnding) == 0) return &path;
  }
  return nullptr;
}

std::vector<std::pair<std::string, double>> scalars(const Manifest& manifest, const Variant& variant) {
  std::vector<std::pair<std::string, double>> values;
  for (std::size_t k = 0; k < manifest.exits.size(); ++k) {
    const Exit& exit = manifest.exits[k];
    values.emplace_back(exit.temperature, variant.temperatures[k]);
    if (exit.slope) {
      values.emplace_back(*exit.slope, variant.slopes[k]);
      values.emplace_back(*exit.offset, variant.offsets[k]);
    }
  }
  return values;
}

std::map<std::string, Tensor> all_tensors(const Manifest& manifest, const Variant& variant) {
  std::map<std::string, Tensor> tensors;
  for (const Input& input : manifest.inputs) tensors[input.name] = input.tensor;
  for (const auto& [name, value] : scalars(manifest, variant)) tensors[name] = Tensor{"float32", {}};
  for (const auto& [name, tensor] : manifest.tensors) tensors[name] = tensor;
  for (const auto& [name, tensor] : variant.tensors) tensors[name] = tensor;
  return tensors;
}

std::string describe(const Tensor& tensor) {
  std::string text = tensor.dtype + " (";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (i > 0) text += ", ";
    const auto* size = std::get_if<std::int64_t>(&tensor.shape[i]);
    text += size != nullptr ? std::to_string(*size) : std::get<std::string>(tensor.shape[i]);
  }
  return text + ")";
}

}  // namespace eetool
