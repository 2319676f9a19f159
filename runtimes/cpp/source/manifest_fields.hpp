// Fields of one JSON object of a manifest.
#pragma once

#include <set>
#include <string>

#include "json.hpp"
#include "manifest.hpp"
#include "text.hpp"

namespace eetool {

[[noreturn]] inline void refuse_type(const std::string& path, const char* expected, const JsonValue& value) {
  refuse_manifest((path.empty() ? "the document" : path) + ": expected " + expected + ", found " + describe(value));
}

inline std::string below(const std::string& path, const std::string& name) {
  const std::string shown = printable(name, 100);
  return path.empty() ? shown : path + "." + shown;
}

/// Fields of one object; `finish` refuses those that nothing has asked for.
class Fields {
 public:
  Fields(const JsonValue& value, std::string path, bool ignore_unknown)
      : path_(std::move(path)), ignore_unknown_(ignore_unknown) {
    const auto* object = value.as<JsonObject>();
    if (object == nullptr) refuse_type(path_, "an object", value);
    members_ = &object->members;
  }

  const JsonValue* optional(const char* name) {
    known_.insert(name);
    for (const auto& [key, value] : *members_) {
      if (key == name) return &value;
    }
    return nullptr;
  }

  const JsonValue& required(const char* name) {
    if (const JsonValue* value = optional(name)) return *value;
    refuse_manifest(at(name) + ": missing field");
  }

  std::string at(const char* name) const { return below(path_, name); }
  bool ignore_unknown() const { return ignore_unknown_; }

  void finish() const {
    if (ignore_unknown_) return;
    for (const auto& [key, value] : *members_) {
      if (known_.count(key) == 0) refuse_manifest(below(path_, key) + ": unknown field");
    }
  }

 private:
  const JsonMembers* members_ = nullptr;
  std::string path_;
  bool ignore_unknown_;
  std::set<std::string> known_;
};

}  // namespace eetool
