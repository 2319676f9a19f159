// Models with scripted confidences and a clock that only moves when told. They need no engine; gates, deadlines and
// statistics are the real ones.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "model.hpp"

namespace eetool::test {

/// Time in nanoseconds. It is one for the process, so tests that move it do not run at once.
extern std::int64_t clock_now_ns;
inline std::int64_t scripted_clock() { return clock_now_ns; }

/// Engine whose graphs pass the input on. An input of value v has the confidence 0.9 from exit v on, and 0 before; its
/// logits at exit k are (0, 1 + k).
class ScriptedEngine : public Engine {
 public:
  explicit ScriptedEngine(std::map<std::string, double> component_ms, bool has_views = false)
      : component_ms_(std::move(component_ms)), has_views_(has_views) {}

  std::string name() const override { return "scripted"; }
  std::string version() const override { return "1"; }
  std::string library() const override { return "none"; }
  std::shared_ptr<Graph> open(const std::string& path, const Bytes& data, Threads threads) override;

  std::map<std::string, double> component_ms_;  // how far a component moves the clock
  bool has_views_;
};

/// A folder that is removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path path;
};

/// Write a bundle of two early exits for the scripted engine, at thresholds of 0.8; `edit` changes its manifest. With
/// views the inputs `input` of 1x1 and `view` of 2x2 pixels are views of one picture, and seg1 reads the second.
std::string write_bundle(const std::filesystem::path& folder, std::string (*edit)(std::string) = nullptr,
                         bool has_views = false);

/// Durations with which the gates are at 3, 8 and 13 ms.
inline const std::map<std::string, double> kTimes = {{"seg0", 2},  {"exit0", 1}, {"seg1", 4},
                                                     {"exit1", 1}, {"seg2", 4},  {"exit2", 1}};

/// A bundle, the engine and a model of both.
struct ScriptedModel {
  explicit ScriptedModel(std::map<std::string, double> component_ms = {}, bool preload = true, bool has_views = false);

  TemporaryFolder folder;
  std::shared_ptr<ScriptedEngine> engine;
  std::shared_ptr<Model> model;
};

}  // namespace eetool::test
