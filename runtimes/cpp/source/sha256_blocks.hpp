// The compression of SHA-256: portable, and with the instructions of processors that have them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace eetool {

/// Words a to h of the digest so far.
using Sha256State = std::array<std::uint32_t, 8>;

/// Function that adds whole blocks of 64 bytes to a digest.
using Sha256Compress = void (*)(Sha256State& state, const unsigned char* data, std::size_t blocks);

extern const std::array<std::uint32_t, 64> kSha256Rounds;

void compress_portable(Sha256State& state, const unsigned char* data, std::size_t blocks);

/// Return the function for this processor's own instructions, or null where it has none.
Sha256Compress processor_compress();

}  // namespace eetool
