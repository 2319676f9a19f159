// Rules of a manifest that types alone cannot state, in four files: of the model, of its variants
// and files, of streams, and of what a server computes.
#pragma once

#include <string>

#include "manifest.hpp"

namespace eetool {

inline void require(bool holds, const char* reason) {
  if (!holds) refuse_manifest(reason);
}

/// Refuse unless `holds`; the reason is only built where it is needed.
template <typename Reason>
void require_or(bool holds, Reason reason) {
  if (!holds) refuse_manifest(reason());
}

inline constexpr double kMaxScale = 1e6;  // of temperatures and deviations; 1 / kMaxScale is the lower bound

/// Return whether float32 arithmetic can divide by `number`.
inline bool is_scale(double number) { return number >= 1 / kMaxScale && number <= kMaxScale; }

/// Check the figures of an operating point.
void check_expected(const Manifest& manifest, const std::string& where, const Expected& expected);

void check_names(const Manifest& manifest);
void check_texts(const Manifest& manifest);
void check_shapes(const Manifest& manifest);
void check_wiring(const Manifest& manifest);
void check_exits(const Manifest& manifest);
void check_variants(const Manifest& manifest);
void check_data(const Manifest& manifest);
void check_devices(const Manifest& manifest);
void check_stream(const Manifest& manifest);
void check_offload(const Manifest& manifest);
void check_files(const Manifest& manifest);

}  // namespace eetool
