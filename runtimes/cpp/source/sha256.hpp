// SHA-256 as in FIPS 180-4. The library has no dependency at run time that could provide it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "sha256_blocks.hpp"

namespace eetool {

/// Digest of bytes that come in parts.
class Sha256 {
 public:
  /// Use the processor's own instructions where it has them.
  Sha256();

  explicit Sha256(Sha256Compress compress) : compress_(compress) {}

  void update(const void* data, std::size_t size);

  /// Return the digest as 64 hexadecimal digits; nothing can be added afterwards.
  std::string hex_digest();

 private:
  Sha256Compress compress_;
  Sha256State state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> pending_{};
  std::size_t pending_size_ = 0;
  std::uint64_t total_size_ = 0;
};

}  // namespace eetool
