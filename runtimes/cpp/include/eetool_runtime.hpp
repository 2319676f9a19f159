// Wrapper of eetool_runtime.h: objects that free themselves, and exceptions in place of statuses. Headers alone.
//
//   eetool_runtime::Model model("model.eebundle");
//   eetool_runtime::Session session(model);
//   session.pixels(frame, height, width, 3);
//   const eetool_runtime::Result result = session.run();
//   std::cout << result.label << " at exit " << result.exit << "\n";
#ifndef EETOOL_RUNTIME_HPP
#define EETOOL_RUNTIME_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "eetool_runtime.h"

namespace eetool_runtime {

/// What a function of the C interface refused; `what()` is its message.
class Error : public std::runtime_error {
 public:
  Error(ee_status status, const std::string& message, std::string hint)
      : std::runtime_error(message), status_(status), hint_(std::move(hint)) {}

  ee_status status() const noexcept { return status_; }
  const std::string& hint() const noexcept { return hint_; }

 private:
  ee_status status_;
  std::string hint_;
};

/// Throw where a call has failed, and free its error, which is read after the call because it comes by reference.
inline void check(ee_status status, ee_error* const& error) {
  if (status == EE_OK) return;
  const std::unique_ptr<ee_error, void (*)(ee_error*)> freed(error, ee_error_free);
  const char* message = ee_error_message(error);
  const char* hint = ee_error_hint(error);
  throw Error(status, message == nullptr ? "unknown error" : message, hint == nullptr ? "" : hint);
}

/// A loaded bundle, which threads may share. Arguments and errors are those of ee_model_open.
class Model {
 public:
  explicit Model(const std::string& path) : Model(path, ee_model_options{}) {}
  Model(const std::string& path, ee_model_options options) : model_(nullptr, ee_model_close) {
    options.struct_size = sizeof(options);
    ee_model* made = nullptr;
    ee_error* error = nullptr;
    check(ee_model_open(path.c_str(), &options, &made, &error), error);
    model_.reset(made);
  }

  /// Own a model that a function in C made, such as ee_testing_model.
  explicit Model(ee_model* made) : model_(made, ee_model_close) {}

  void use(const std::string& operating_point) {
    ee_error* error = nullptr;
    check(ee_model_use(get(), operating_point.c_str(), nullptr, &error), error);
  }

  /// One threshold per early exit; EE_NO_GATE never fires.
  void use(const std::vector<double>& thresholds) {
    ee_error* error = nullptr;
    check(ee_model_use_thresholds(get(), thresholds.data(), thresholds.size(), nullptr, &error), error);
  }

  std::string info_json() const { return text(ee_model_info_json); }
  std::string stats_json() const { return text(ee_model_stats_json); }

  /// Statistics in the text format of Prometheus.
  std::string prometheus_text() const { return text(ee_model_prometheus_text); }

  ee_model* get() const noexcept { return model_.get(); }

 private:
  std::string text(ee_status (*function)(ee_model*, char**, ee_error**)) const {
    char* made = nullptr;
    ee_error* error = nullptr;
    check(function(get(), &made, &error), error);
    const std::unique_ptr<char, void (*)(char*)> freed(made, ee_free);
    return made;
  }

  std::unique_ptr<ee_model, void (*)(ee_model*)> model_;
};

/// Prediction for one input; the fields are those of ee_result, with copies of what belongs to the session.
struct Result {
  int exit;
  std::size_t label_index;
  std::string label;
  std::vector<float> logits;
  double confidence;
  double temperature;
  double latency_ms;
  std::uint64_t macs;
  bool gated;
  bool late;

  /// Return softmax(logits / temperature), in double precision inside.
  std::vector<float> probabilities() const {
    std::vector<float> shares;
    if (logits.empty()) return shares;
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float logit : logits) sum += std::exp((logit - largest) / temperature);
    for (const float logit : logits) {
      shares.push_back(static_cast<float>(std::exp((logit - largest) / temperature) / sum));
    }
    return shares;
  }
};

/// Calls of a model, for one thread at a time.
class Session {
 public:
  explicit Session(const Model& model) : session_(nullptr, ee_session_free) {
    ee_session* made = nullptr;
    ee_error* error = nullptr;
    check(ee_session_new(model.get(), &made, &error), error);
    session_.reset(made);
  }

  /// Set an input of which the manifest fixes every size; without a name, the only one.
  template <typename T>
  void input(const std::vector<T>& values, const char* name = nullptr) {
    set(values.data(), values.size(), nullptr, 0, name);
  }

  /// Set an input of any size; the shape begins with the batch of 1.
  template <typename T>
  void input(const std::vector<T>& values, const std::vector<std::int64_t>& shape, const char* name = nullptr) {
    set(values.data(), values.size(), shape.data(), shape.size(), name);
  }

  /// Set an input from raw pixels (height, width, channels) without gaps between rows.
  void pixels(const std::vector<std::uint8_t>& data, std::int32_t height, std::int32_t width, std::int32_t channels,
              const char* name = nullptr) {
    pixels(ee_image{sizeof(ee_image), data.data(), data.size(), height, width, channels, 0}, name);
  }

  /// Set an input from an image in memory of the caller.
  void pixels(const ee_image& image, const char* name = nullptr) {
    ee_error* error = nullptr;
    check(ee_session_pixels(session_.get(), name, &image, &error), error);
  }

  /// Run the inputs that are set. A deadline of 0 is none.
  Result run(double deadline_ms = 0, int min_exit = 0) {
    ee_run_options options{};
    options.struct_size = sizeof(options);
    options.deadline_ms = deadline_ms;
    options.min_exit = min_exit;
    ee_result r{};
    r.struct_size = sizeof(r);
    ee_error* error = nullptr;
    check(ee_session_run(session_.get(), &options, &r, &error), error);
    return {r.exit,       static_cast<std::size_t>(r.label_index),
            r.label,      {r.logits, r.logits + r.classes},
            r.confidence, r.temperature,
            r.latency_ms, r.macs,
            r.gated != 0, r.late != 0};
  }

  ee_session* get() const noexcept { return session_.get(); }

 private:
  template <typename T>
  static constexpr std::int32_t dtype() {
    if constexpr (std::is_same_v<T, float>) return EE_FLOAT32;
    if constexpr (std::is_same_v<T, std::int64_t>) return EE_INT64;
    if constexpr (std::is_same_v<T, std::int32_t>) return EE_INT32;
    if constexpr (std::is_same_v<T, std::uint8_t>) return EE_UINT8;
    if constexpr (std::is_same_v<T, std::int8_t>) return EE_INT8;
    return 0;  // refused by the library
  }

  template <typename T>
  void set(const T* values, std::size_t count, const std::int64_t* shape, std::size_t rank, const char* name) {
    ee_tensor tensor{};
    tensor.struct_size = sizeof(tensor);
    tensor.dtype = dtype<T>();
    tensor.rank = static_cast<std::int32_t>(rank);
    tensor.shape = shape;
    tensor.data = values;
    tensor.size_bytes = count * sizeof(T);
    ee_error* error = nullptr;
    check(ee_session_input(session_.get(), name, &tensor, &error), error);
  }

  std::unique_ptr<ee_session, void (*)(ee_session*)> session_;
};

}  // namespace eetool_runtime

#endif
