// The engines by graph format.
#include <vector>

#include "engine.hpp"
#include "engines/litert.hpp"
#include "engines/onnxruntime.hpp"
#include "error.hpp"
#include "fork_guard.hpp"
#include "text.hpp"

namespace eetool {
namespace {

/// A graph format, and the engine that runs it.
struct Format {
  const char* name;
  SharedLibrary (*find_library)(const std::string& path);
  std::shared_ptr<Engine> (*make)(SharedLibrary library);
};

template <typename Kind>
std::shared_ptr<Engine> make_engine(SharedLibrary library) {
  return std::make_shared<Kind>(std::move(library));
}

constexpr Format kFormats[] = {
    {"onnx", ort::OnnxRuntime::find_library, make_engine<ort::OnnxRuntime>},
    {"tflite", litert::LiteRt::find_library, make_engine<litert::LiteRt>},
};

struct LoadedEngine {
  SharedLibrary library;
  std::shared_ptr<Engine> engine;
};

}  // namespace

Named<std::shared_ptr<Graph>> Engine::open_shared(const std::string& path, const Bytes&, Threads) {
  throw backend_error(path + ": " + name() + " has no files of several graphs");
}

std::shared_ptr<Engine> engine_for(const std::string& format, const std::string& library) {
  // Never destroyed, because graphs may outlive the end of `main`.
  static auto* const engines = new std::vector<LoadedEngine>;
  for (const Format& known : kFormats) {
    if (format != known.name) continue;
    const std::lock_guard lock(engines_mutex());
    SharedLibrary found = known.find_library(library);
    for (const LoadedEngine& loaded : *engines) {
      if (loaded.library == found) return loaded.engine;
    }
    return engines->emplace_back(LoadedEngine{found, known.make(found)}).engine;
  }
  throw usage_error("no backend runs " + in_quotes(format) + " graphs", "Known formats: onnx, tflite.");
}

}  // namespace eetool
