#include "sha256_blocks.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && (defined(__ARM_FEATURE_SHA2) || (defined(__GNUC__) && !defined(__clang__)))
#define EETOOL_ARM_SHA2  // before release 16, clang has these instructions only where the whole build requires them
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace eetool {

#if defined(__x86_64__)
namespace {

__attribute__((target("sha,sse4.1"))) void compress_x86(Sha256State& state, const unsigned char* data,
                                                        std::size_t blocks) {
  const auto load = [](const void* at) __attribute__((target("sse4.1"))) {
    return _mm_loadu_si128(static_cast<const __m128i*>(at));
  };
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i* const words = reinterpret_cast<__m128i*>(state.data());
  // The instructions take the words in the orders f e b a and h g d c, from the lowest lane on.
  __m128i low = _mm_shuffle_epi32(load(words), 0xb1), high = _mm_shuffle_epi32(load(words + 1), 0x1b);
  __m128i feba = _mm_alignr_epi8(low, high, 8), hgdc = _mm_blend_epi16(high, low, 0xf0);
  for (; blocks > 0; --blocks, data += 64) {
    const __m128i feba_before = feba, hgdc_before = hgdc;
    __m128i w[16];
    for (int i = 0; i < 16; ++i) {
      if (i < 4) {
        w[i] = _mm_shuffle_epi8(load(data + 16 * i), big_endian);
      } else {
        const __m128i older = _mm_add_epi32(_mm_sha256msg1_epu32(w[i - 4], w[i - 3]),
                                            _mm_alignr_epi8(w[i - 1], w[i - 2], 4));
        w[i] = _mm_sha256msg2_epu32(older, w[i - 1]);
      }
      const __m128i added = _mm_add_epi32(w[i], load(&kSha256Rounds[4 * static_cast<std::size_t>(i)]));
      hgdc = _mm_sha256rnds2_epu32(hgdc, feba, added);
      feba = _mm_sha256rnds2_epu32(feba, hgdc, _mm_shuffle_epi32(added, 0x0e));
    }
    feba = _mm_add_epi32(feba, feba_before);
    hgdc = _mm_add_epi32(hgdc, hgdc_before);
  }
  low = _mm_shuffle_epi32(feba, 0x1b), high = _mm_shuffle_epi32(hgdc, 0xb1);
  _mm_storeu_si128(words, _mm_blend_epi16(low, high, 0xf0));
  _mm_storeu_si128(words + 1, _mm_alignr_epi8(high, low, 8));
}

}  // namespace

Sha256Compress processor_compress() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return nullptr;
  const bool has_sse = (c & bit_SSSE3) != 0 && (c & bit_SSE4_1) != 0;
  if (!has_sse || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return nullptr;
  return (b & bit_SHA) != 0 ? compress_x86 : nullptr;
}

#elif defined(EETOOL_ARM_SHA2)
namespace {

__attribute__((target("+crypto"))) void compress_arm(Sha256State& state, const unsigned char* data,
                                                     std::size_t blocks) {
  uint32x4_t abcd = vld1q_u32(state.data()), efgh = vld1q_u32(state.data() + 4);
  for (; blocks > 0; --blocks, data += 64) {
    const uint32x4_t abcd_before = abcd, efgh_before = efgh;
    uint32x4_t w[16];
    for (std::size_t i = 0; i < 16; ++i) {
      w[i] = i < 4 ? vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * i)))
                   : vsha256su1q_u32(vsha256su0q_u32(w[i - 4], w[i - 3]), w[i - 2], w[i - 1]);
      const uint32x4_t added = vaddq_u32(w[i], vld1q_u32(&kSha256Rounds[4 * i])), old = abcd;
      abcd = vsha256hq_u32(abcd, efgh, added);
      efgh = vsha256h2q_u32(efgh, old, added);
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(state.data(), abcd);
  vst1q_u32(state.data() + 4, efgh);
}

}  // namespace

Sha256Compress processor_compress() { return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0 ? compress_arm : nullptr; }

#else
Sha256Compress processor_compress() { return nullptr; }
#endif

}  // namespace eetool
