// libFuzzer target: any bytes are a manifest, or refused.
#include <cstddef>
#include <cstdint>

#include "error.hpp"
#include "execution_plan.hpp"
#include "manifest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const eetool::Manifest m = eetool::parse_manifest({reinterpret_cast<const char*>(data), size});
    for (const auto& [key, variant] : m.variants) {
      for (const auto& [name, point] : variant.operating_points) eetool::plan_steps(m, point.thresholds);
      eetool::all_tensors(m, variant);
    }
  } catch (const eetool::Error&) {
  }
  return 0;
}
