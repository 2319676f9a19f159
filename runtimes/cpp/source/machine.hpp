// Facts about the machine that the runtime needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace eetool {

/// Return the name of the board in the kernel's device tree, else of the processor; empty where both are unknown.
std::string machine_name(const std::string& root = "/");

/// Return the number of cores that this process may run on; a container or taskset can lower it.
std::int64_t usable_cores();

/// Return the resident memory of this process, shared pages included; nothing without /proc.
std::optional<std::int64_t> resident_bytes();

}  // namespace eetool
