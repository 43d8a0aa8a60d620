// Vectors of float32 as wide as the instruction set this file is compiled for, and the few functions the hot
// loops need.
//
// Included only by the isa_*.cpp files (through hot_*.inl), inside namespace
// pan::kernels::cpu::PAN_HOT_NAMESPACE. Everything here has internal linkage, and no header of the standard
// library with inline functions is used: a copy of such a function compiled for AVX-512 could otherwise be
// the one that the linker keeps for the whole program.
#pragma once

#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/cpu/hot.h"

#define PAN_INLINE static inline __attribute__((always_inline))

namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kTileKeys = 12;  // rows of the register tile: 12 x 2 accumulators of 32 registers
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr int kTileKeys = 6;  // 6 x 2 accumulators of 16 registers
#else
constexpr int kLanes = 4;
constexpr int kTileKeys = 6;
#endif
constexpr int kPanel = 2 * kLanes;  // lanes of a panel: two vectors side by side

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t VecInt __attribute__((vector_size(kLanes * sizeof(float))));
typedef uint32_t VecBits
    __attribute__((vector_size(kLanes * sizeof(float))));  // wraps around where int may not
typedef float VecUnaligned __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

PAN_INLINE Vec load(const float* p) { return *reinterpret_cast<const VecUnaligned*>(p); }
PAN_INLINE void store(float* p, Vec v) { *reinterpret_cast<VecUnaligned*>(p) = v; }

PAN_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
PAN_INLINE int64_t max_of(int64_t a, int64_t b) { return a < b ? b : a; }

#if defined(__AVX512F__)
PAN_INLINE Vec splat(float x) { return _mm512_set1_ps(x); }
// The second operand where one of them is NaN, like the hardware's instruction.
PAN_INLINE Vec vmax(Vec a, Vec b) { return _mm512_max_ps(a, b); }
PAN_INLINE Vec vmin(Vec a, Vec b) { return _mm512_min_ps(a, b); }
PAN_INLINE Vec select(VecInt mask, Vec a, Vec b) {
  return _mm512_mask_blend_ps(_mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)), b, a);
}
PAN_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
PAN_INLINE Vec round_near(Vec x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// y 2^n where x > -126 or NaN, else 0. n = round(x).
PAN_INLINE Vec scale_exp2(Vec y, Vec n, Vec x) {
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLE_UQ), y, n);
}
#elif defined(__AVX2__)
PAN_INLINE Vec splat(float x) { return _mm256_set1_ps(x); }
PAN_INLINE Vec vmax(Vec a, Vec b) { return _mm256_max_ps(a, b); }
PAN_INLINE Vec vmin(Vec a, Vec b) { return _mm256_min_ps(a, b); }
PAN_INLINE Vec select(VecInt mask, Vec a, Vec b) {
  return _mm256_blendv_ps(b, a, reinterpret_cast<__m256>(mask));
}
PAN_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
PAN_INLINE Vec round_near(Vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
PAN_INLINE Vec scale_exp2(Vec y, Vec n, Vec x) {
  const __m256i bits = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  const __m256 scaled =
      _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(static_cast<__m256>(y)), bits));
  return _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(-126.0f), _CMP_NLE_UQ), scaled);
}
#else
PAN_INLINE Vec splat(float x) { return Vec{x, x, x, x}; }
PAN_INLINE Vec vmax(Vec a, Vec b) { return a > b ? a : b; }
PAN_INLINE Vec vmin(Vec a, Vec b) { return a < b ? a : b; }
PAN_INLINE Vec select(VecInt mask, Vec a, Vec b) { return mask ? a : b; }
PAN_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
// For |x| < 2^22; larger x is only met where the result is masked out.
PAN_INLINE Vec round_near(Vec x) {
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: the unit in the last place is 1
  return (x + magic) - magic;
}
PAN_INLINE Vec scale_exp2(Vec y, Vec n, Vec x) {
  const VecBits bits = reinterpret_cast<VecBits>(n + splat(12582912.0f)) << 23;
  const VecInt keep = ~(x <= splat(-126.0f));
  return reinterpret_cast<Vec>((reinterpret_cast<VecBits>(y) + bits) & reinterpret_cast<VecBits>(keep));
}
#endif

// 2^x for x <= 0 (any magnitude), relative error below 0.8e-7; 0 at and below -126, NaN for NaN. Degree 6
// minimax on [-1/2, 1/2].
PAN_INLINE Vec exp2_nonpositive(Vec x) {
  const Vec n = round_near(x);
  const Vec f = x - n;
  Vec y = splat(0.000153458081f);
  y = fma(y, f, splat(0.00133999309f));
  y = fma(y, f, splat(0.00961848907f));
  y = fma(y, f, splat(0.0555032864f));
  y = fma(y, f, splat(0.240226462f));
  y = fma(y, f, splat(0.693147182f));
  y = fma(y, f, splat(1.0f));
  return scale_exp2(y, n, x);
}

// ln x for normal x > 0 (NaN for NaN), relative error about 1e-7. Mantissa in [sqrt(1/2), sqrt(2)), ln(1+f) =
// f - f^2/2 + f^3 P(f).
PAN_INLINE Vec log_positive(Vec x) {
  const VecBits shifted = reinterpret_cast<VecBits>(x) - 0x3f3504f3u;  // sqrt(1/2)
  const VecInt exponent = reinterpret_cast<VecInt>(shifted) >> 23;
  const Vec f = reinterpret_cast<Vec>((shifted & 0x007fffffu) + 0x3f3504f3u) - splat(1.0f);
  const Vec e = __builtin_convertvector(exponent, Vec);
  Vec p = splat(0.0680091232f);
  p = fma(p, f, splat(-0.117266051f));
  p = fma(p, f, splat(0.118909895f));
  p = fma(p, f, splat(-0.123964451f));
  p = fma(p, f, splat(0.142177626f));
  p = fma(p, f, splat(-0.166685119f));
  p = fma(p, f, splat(0.200022459f));
  p = fma(p, f, splat(-0.25f));
  p = fma(p, f, splat(0.333333105f));
  const Vec f2 = f * f;
  // ln 2 in two parts: the first times an exponent is exact.
  const Vec small = fma(p, f2 * f, fma(e, splat(-2.12194440e-4f), f2 * splat(-0.5f)));
  return fma(e, splat(0.693359375f), f + small) + (x - x);  // the last term is NaN for NaN, else 0
}

PAN_INLINE float sum_lanes(Vec v) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

// Elements of the three input types as float32.
PAN_INLINE float half_to_float(uint16_t h) {
#if defined(__F16C__)
  return _cvtsh_ss(h);
#else
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t rest = h & 0x7fffu;
  union {
    uint32_t bits;
    float value;
  } out;
  if (rest >= 0x7c00u) {  // infinity and NaN
    out.bits = sign | 0x7f800000u | ((rest & 0x3ffu) << 13);
  } else {  // the exponent's bias is corrected by an exact multiplication, which also handles subnormals
    out.bits = rest << 13;
    out.value *= 5.192296858534828e33f;  // 2^112
    out.bits |= sign;
  }
  return out.value;
#endif
}

PAN_INLINE float bfloat_to_float(uint16_t b) {
  union {
    uint32_t bits;
    float value;
  } out;
  out.bits = static_cast<uint32_t>(b) << 16;
  return out.value;
}

PAN_INLINE float load_one(const void* data, Type type, int64_t index) {
  if (type == Type::float32) return static_cast<const float*>(data)[index];
  const uint16_t raw = static_cast<const uint16_t*>(data)[index];
  return type == Type::bfloat16 ? bfloat_to_float(raw) : half_to_float(raw);
}

// Rounds to the nearest, ties to even.
PAN_INLINE uint16_t float_to_bfloat(float x) {
  union {
    float value;
    uint32_t bits;
  } in;
  in.value = x;
  if (x != x) return 0x7fc0;
  return static_cast<uint16_t>((in.bits + 0x7fffu + ((in.bits >> 16) & 1u)) >> 16);
}

PAN_INLINE uint16_t float_to_half(float x) {
#if defined(__F16C__)
  return static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
#else
  union {
    float value;
    uint32_t bits;
  } in, round;
  in.value = x;
  const uint32_t sign = (in.bits >> 16) & 0x8000u;
  in.bits &= 0x7fffffffu;
  if (in.bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);   // NaN
  if (in.bits >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to infinity
  if (in.bits <
      0x38800000u) {  // subnormal: adding 1/2 puts the result into the low bits, rounded by the hardware
    round.value = in.value + 0.5f;
    return static_cast<uint16_t>(sign | (round.bits - 0x3f000000u));
  }
  const uint32_t rounded = in.bits + 0xfffu + ((in.bits >> 13) & 1u) - 0x38000000u;
  return static_cast<uint16_t>(sign | (rounded >> 13));
#endif
}

PAN_INLINE void store_one(void* data, Type type, int64_t index, float value) {
  if (type == Type::float32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<uint16_t*>(data)[index] =
        type == Type::bfloat16 ? float_to_bfloat(value) : float_to_half(value);
  }
}

PAN_INLINE const void* advance(const void* data, Type type, int64_t elements) {
  return static_cast<const char*>(data) + elements * (type == Type::float32 ? 4 : 2);
}

// kLanes consecutive elements.
PAN_INLINE Vec load_bfloat(const uint16_t* p) {
#if defined(__AVX512F__)
  const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
#elif defined(__AVX2__)
  const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
#else
  return Vec{bfloat_to_float(p[0]), bfloat_to_float(p[1]), bfloat_to_float(p[2]), bfloat_to_float(p[3])};
#endif
}

PAN_INLINE Vec load_half(const uint16_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  return Vec{half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])};
#endif
}

template <Type kType>
PAN_INLINE Vec load_as(const void* p) {
  if constexpr (kType == Type::float32) return load(static_cast<const float*>(p));
  if constexpr (kType == Type::bfloat16) return load_bfloat(static_cast<const uint16_t*>(p));
  if constexpr (kType == Type::float16) return load_half(static_cast<const uint16_t*>(p));
}

// `count` consecutive elements to float32.
template <Type kType>
PAN_INLINE void widen_as(const void* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load_as<kType>(advance(from, kType, i)));
  for (; i < count; ++i) to[i] = load_one(from, kType, i);
}

static void widen(const void* from, Type type, int64_t count, float* to) {
  switch (type) {
    case Type::float32:
      widen_as<Type::float32>(from, count, to);
      break;
    case Type::bfloat16:
      widen_as<Type::bfloat16>(from, count, to);
      break;
    case Type::float16:
      widen_as<Type::float16>(from, count, to);
      break;
  }
}

}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
