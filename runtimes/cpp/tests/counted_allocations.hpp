// Number of allocations of the process by `new`.
#pragma once

#include <cstddef>

namespace eetool::test {

std::size_t allocations();

}  // namespace eetool::test
