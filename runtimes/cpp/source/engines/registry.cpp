// The engines by graph format.
#include <vector>

#include "engine.hpp"
#include "engines/onnxruntime.hpp"
#include "error.hpp"
#include "fork_guard.hpp"
#include "text.hpp"

namespace eetool {

std::shared_ptr<Engine> engine_for(const std::string& format, const std::string& library) {
  if (format != "onnx") throw usage_error("no backend runs " + in_quotes(format) + " graphs", "Known formats: onnx.");
  // Never destroyed, because graphs may outlive the end of `main`.
  static auto* const engines = new std::vector<std::shared_ptr<ort::OnnxRuntime>>;
  const std::lock_guard lock(engines_mutex());
  SharedLibrary found = ort::OnnxRuntime::find_library(library);
  for (const auto& engine : *engines) {
    if (engine->file() == found) return engine;
  }
  return engines->emplace_back(std::make_shared<ort::OnnxRuntime>(std::move(found)));
}

}  // namespace eetool
