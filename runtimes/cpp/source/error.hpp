// Errors of this library. They never leave it as exceptions: the C interface turns them into a status.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace eetool {

/// Kind of an error; the numbers are those of `ee_status` in the C interface.
enum class Status : int { ok = 0, internal = 1, usage = 2, bundle = 3, input = 4, backend = 5 };

/// An error with its kind, and a hint that says what to do, or an empty one.
class Error : public std::exception {
 public:
  Error(Status status, std::string message, std::string hint = {})
      : status_(status), message_(std::move(message)), hint_(std::move(hint)) {}

  Status status() const noexcept { return status_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& hint() const noexcept { return hint_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  Status status_;
  std::string message_;
  std::string hint_;
};

inline Error usage_error(std::string message, std::string hint = {}) {
  return Error(Status::usage, std::move(message), std::move(hint));
}
inline Error bundle_error(std::string message, std::string hint = {}) {
  return Error(Status::bundle, std::move(message), std::move(hint));
}
inline Error input_error(std::string message, std::string hint = {}) {
  return Error(Status::input, std::move(message), std::move(hint));
}
inline Error backend_error(std::string message, std::string hint = {}) {
  return Error(Status::backend, std::move(message), std::move(hint));
}

}  // namespace eetool
