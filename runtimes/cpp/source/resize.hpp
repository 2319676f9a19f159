// Resizing of pictures to the size of a model; the rule is that of docs/bundle-format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace eetool {

/// Pixels uint8 (height, width, channels), all at least 1, with `row_bytes` from one row to the next.
struct Picture {
  const std::uint8_t* pixels = nullptr;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
  std::size_t row_bytes = 0;
};

/// True where no pixel of the last channel is below 255.
bool is_opaque(const Picture& picture);

/// Return uint8 (rows, columns, channels) of the first `channels` channels of `picture`.
std::vector<std::uint8_t> resize(const Picture& picture, std::int64_t rows, std::int64_t columns, std::int64_t channels,
                                 const std::string& fit);

/// Return pixels (n, `found`) as pixels (n, `wanted`): grey is repeated, RGB becomes grey by the luma of ITU-R BT.601.
std::vector<std::uint8_t> with_channels(const std::vector<std::uint8_t>& pixels, std::int64_t found,
                                        std::int64_t wanted);

}  // namespace eetool
