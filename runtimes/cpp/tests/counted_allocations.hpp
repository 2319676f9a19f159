// Number of allocations of the process by `new`; 0 where a sanitizer counts them.
#pragma once

#include <cstddef>

namespace eetool::test {

std::size_t allocations();

}  // namespace eetool::test
