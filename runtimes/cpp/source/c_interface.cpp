// The C interface: handles and structures of the caller on one side, objects and exceptions on the other.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>

#include "eetool_runtime.h"
#include "error.hpp"
#include "handles.hpp"
#include "session.hpp"

struct ee_error {
  ee_status status;
  std::string message;
  std::string hint;
};

namespace eetool {
namespace {

ee_error out_of_memory{EE_ERROR_INTERNAL, "out of memory", ""};

/// A session, and whether a call is using it.
struct GuardedSession {
  explicit GuardedSession(std::shared_ptr<Model> model) : session(std::move(model)) {}

  Session session;
  std::atomic<bool> is_busy{false};
};

/// Use of a session by one caller at a time.
class SessionUse {
 public:
  explicit SessionUse(std::shared_ptr<GuardedSession> guarded) : guarded_(std::move(guarded)) {
    if (guarded_->is_busy.exchange(true, std::memory_order_acquire)) {
      throw usage_error("the session is used by another thread", "Make a session for each thread.");
    }
  }
  ~SessionUse() { guarded_->is_busy.store(false, std::memory_order_release); }
  SessionUse(const SessionUse&) = delete;
  SessionUse& operator=(const SessionUse&) = delete;

  Session& operator*() const { return guarded_->session; }

 private:
  std::shared_ptr<GuardedSession> guarded_;
};

// Never destroyed, because threads may outlive the end of `main`.
Handles<ee_model, Model>& models() {
  static auto* const handles = new Handles<ee_model, Model>("model");
  return *handles;
}
Handles<ee_session, GuardedSession>& sessions() {
  static auto* const handles = new Handles<ee_session, GuardedSession>("session");
  return *handles;
}

ee_status report(ee_error** error, ee_status status, const char* message, const char* hint) noexcept {
  if (error == nullptr) return status;
  try {
    *error = new ee_error{status, message, hint};
  } catch (const std::bad_alloc&) {
    *error = &out_of_memory;
  }
  return status;
}

/// Run `action` and turn whatever it throws into a status and an error object.
template <typename Action>
ee_status guarded(ee_error** error, Action action) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    action();
    return EE_OK;
  } catch (const Error& e) {
    return report(error, static_cast<ee_status>(e.status()), e.message().c_str(), e.hint().c_str());
  } catch (const std::bad_alloc&) {
    return report(error, EE_ERROR_INTERNAL, "out of memory", "");
  } catch (const std::exception& e) {
    return report(error, EE_ERROR_INTERNAL, e.what(), "This is a fault of the runtime; please report it.");
  } catch (...) {
    return report(error, EE_ERROR_INTERNAL, "an unknown exception",
                  "This is a fault of the runtime; please report it.");
  }
}

void require_pointer(const void* pointer, const char* name) {
  if (pointer == nullptr) throw usage_error(std::string(name) + " is NULL");
}

/// Return a copy of a structure of the caller, whose size may be that of an older header; NULL gives the defaults.
template <typename Structure>
Structure copied(const Structure* given, const char* name) {
  Structure copy{};
  if (given == nullptr) return copy;
  if (given->struct_size < sizeof(std::size_t)) throw usage_error(std::string(name) + ": struct_size is not set");
  std::memcpy(static_cast<void*>(&copy), given, std::min(given->struct_size, sizeof(copy)));
  return copy;
}

std::string text_or_empty(const char* text) { return text == nullptr ? "" : text; }

ModelOptions model_options(const ee_model_options* given) {
  const ee_model_options o = copied(given, "ee_model_options");
  if (o.pool != EE_POOL_PRIVATE && o.pool != EE_POOL_PROCESS) {
    throw usage_error("unknown pool " + std::to_string(o.pool), "Known pools: EE_POOL_PRIVATE, EE_POOL_PROCESS.");
  }
  if (o.lazy != 0 && o.lazy != 1) throw usage_error("lazy must be 0 or 1, not " + std::to_string(o.lazy));
  ModelOptions options;
  options.variant = text_or_empty(o.variant);
  options.format = text_or_empty(o.format);
  options.library = text_or_empty(o.engine);
  options.thread_count = o.threads;
  options.pool = o.pool == EE_POOL_PROCESS ? Pool::per_process : Pool::per_graph;
  options.preload = o.lazy == 0;
  return options;
}

std::optional<Band> band(const ee_watch* given) {
  if (given == nullptr) return std::nullopt;
  const ee_watch watch = copied(given, "ee_watch");
  return Band{watch.low, watch.high};
}

std::string_view dtype_name(std::int32_t dtype) {
  switch (dtype) {
    case EE_FLOAT32:
      return "float32";
    case EE_INT64:
      return "int64";
    case EE_INT32:
      return "int32";
    case EE_UINT8:
      return "uint8";
    case EE_INT8:
      return "int8";
    case EE_BOOL:
      return "bool";
    default:
      throw usage_error("ee_tensor: unknown dtype " + std::to_string(dtype));
  }
}

CallOptions call_options(const ee_run_options* given) {
  CallOptions options;
  if (given == nullptr) return options;
  const ee_run_options o = copied(given, "ee_run_options");
  if (o.deadline_ms != 0) options.deadline_ms = o.deadline_ms;  // NaN differs from 0, and is refused
  options.min_exit = o.min_exit;
  return options;
}

/// Fill the part of the caller's result that its header knows.
void fill(ee_result* result, const Prediction& prediction, const std::vector<std::string>& labels) {
  ee_result full{};
  full.struct_size = result->struct_size;
  full.exit = prediction.exit;
  full.label_index = static_cast<std::int32_t>(prediction.class_index(labels.size()));
  full.label = labels[static_cast<std::size_t>(full.label_index)].c_str();
  full.logits = prediction.logits;
  full.classes = labels.size();
  full.confidence = prediction.confidence;
  full.temperature = prediction.temperature;
  full.latency_ms = prediction.latency_ms;
  full.macs = prediction.macs;
  full.gated = prediction.gated ? 1 : 0;
  full.late = prediction.overrun ? 1 : 0;
  std::memcpy(static_cast<void*>(result), &full, std::min(result->struct_size, sizeof(full)));
}

/// Give the caller a text that a function of the model makes.
ee_status give_text(ee_model* model, char** text, ee_error** error, std::string (Model::*make)() const) noexcept {
  return guarded(error, [&] {
    const auto object = models().get(model);
    require_pointer(text, "text");
    object->check_process();
    const std::string made = ((*object).*make)();
    *text = new char[made.size() + 1];
    std::memcpy(*text, made.c_str(), made.size() + 1);
  });
}

/// Let go of an object. In a forked child its engine must not be freed: that would wait for threads of the parent.
template <typename Object>
void release(std::shared_ptr<Object> object, bool is_foreign) {
  if (is_foreign) new std::shared_ptr<Object>(std::move(object));
}

}  // namespace
}  // namespace eetool

using namespace eetool;

extern "C" {

uint32_t ee_abi_version(void) { return EE_ABI_MAJOR << 16 | EE_ABI_MINOR; }

const char* ee_version(void) { return EE_VERSION; }

const char* ee_error_message(const ee_error* error) { return error == nullptr ? nullptr : error->message.c_str(); }

const char* ee_error_hint(const ee_error* error) {
  return error == nullptr || error->hint.empty() ? nullptr : error->hint.c_str();
}

ee_status ee_error_code(const ee_error* error) { return error == nullptr ? EE_OK : error->status; }

void ee_error_free(ee_error* error) {
  if (error != &out_of_memory) delete error;
}

void ee_free(char* text) { delete[] text; }

ee_status ee_model_open(const char* path, const ee_model_options* options, ee_model** model, ee_error** error) {
  return guarded(error, [&] {
    require_pointer(model, "model");
    *model = nullptr;
    require_pointer(path, "path");
    *model = models().add(Model::open(path, model_options(options)));
  });
}

void ee_model_close(ee_model* model) {
  guarded(nullptr, [&] {
    if (auto object = models().remove(model)) {
      object->close();
      const bool is_foreign = object->is_foreign();
      release(std::move(object), is_foreign);
    }
  });
}

ee_status ee_model_info_json(ee_model* model, char** text, ee_error** error) {
  return give_text(model, text, error, &Model::info_json);
}

ee_status ee_model_use(ee_model* model, const char* operating_point, const ee_watch* watch, ee_error** error) {
  return guarded(error, [&] {
    const auto object = models().get(model);
    require_pointer(operating_point, "operating_point");
    object->check_process();
    object->use(std::string(operating_point), band(watch));
  });
}

ee_status ee_model_use_thresholds(ee_model* model, const double* thresholds, size_t count, const ee_watch* watch,
                                  ee_error** error) {
  return guarded(error, [&] {
    const auto object = models().get(model);
    object->check_process();
    if (count > 0) require_pointer(thresholds, "thresholds");
    const std::size_t expected = object->manifest().early_exits();
    if (count != expected) {
      throw usage_error(std::to_string(count) + " thresholds given; the model has " + std::to_string(expected) +
                        " early exits");
    }
    Thresholds chosen;
    for (std::size_t k = 0; k < count; ++k) {
      chosen.push_back(thresholds[k] == EE_NO_GATE ? std::nullopt : std::optional(thresholds[k]));
    }
    object->use(chosen, band(watch));
  });
}

ee_status ee_model_stats_json(ee_model* model, char** text, ee_error** error) {
  return give_text(model, text, error, &Model::stats_json);
}

ee_status ee_model_prometheus_text(ee_model* model, char** text, ee_error** error) {
  return give_text(model, text, error, &Model::prometheus_text);
}

ee_status ee_session_new(ee_model* model, ee_session** session, ee_error** error) {
  return guarded(error, [&] {
    require_pointer(session, "session");
    *session = nullptr;
    const auto object = models().get(model);
    object->check_process();
    *session = sessions().add(std::make_shared<GuardedSession>(object));
  });
}

void ee_session_free(ee_session* session) {
  guarded(nullptr, [&] {
    if (auto object = sessions().remove(session)) {
      const bool is_foreign = object->session.model().is_foreign();
      release(std::move(object), is_foreign);
    }
  });
}

ee_status ee_session_input(ee_session* session, const char* name, const ee_tensor* tensor, ee_error** error) {
  return guarded(error, [&] {
    const SessionUse use(sessions().get(session));
    ModelInput& input = (*use).input(name);
    input.unset();
    require_pointer(tensor, "tensor");
    const ee_tensor t = copied(tensor, "ee_tensor");
    if (t.shape != nullptr && t.rank < 0) throw usage_error("ee_tensor: rank is " + std::to_string(t.rank));
    input.set(GivenTensor{dtype_name(t.dtype), t.shape, static_cast<std::size_t>(t.rank), t.data, t.size_bytes});
  });
}

ee_status ee_session_pixels(ee_session* session, const char* name, const ee_image* image, ee_error** error) {
  return guarded(error, [&] {
    const SessionUse use(sessions().get(session));
    const std::vector<ModelInput*> inputs = (*use).inputs_of_picture(name);
    for (ModelInput* input : inputs) input->unset();
    require_pointer(image, "image");
    const ee_image i = copied(image, "ee_image");
    if (i.row_bytes < 0) throw usage_error("ee_image: row_bytes is " + std::to_string(i.row_bytes));
    const auto row_bytes = static_cast<std::size_t>(i.row_bytes);
    (*use).set_picture(inputs, GivenImage{i.pixels, i.size_bytes, i.height, i.width, i.channels, row_bytes});
  });
}

ee_status ee_session_run(ee_session* session, const ee_run_options* options, ee_result* result, ee_error** error) {
  return guarded(error, [&] {
    const SessionUse use(sessions().get(session));
    require_pointer(result, "result");
    if (result->struct_size < sizeof(std::size_t)) throw usage_error("ee_result: struct_size is not set");
    fill(result, (*use).run(call_options(options)), (*use).model().manifest().labels);
  });
}

}  // extern "C"
