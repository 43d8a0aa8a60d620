#include "model/small_linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pan::model {
namespace {

// One piece of the product: rows [row_begin, row_end) of the weight against all of x.
struct Job {
  const void* x;               // [M, K]
  const void* weight;          // [N, K]
  const float* bias;           // [N] or null
  float* out;                  // [M, N]
  int64_t rows, depth, width;  // M, K, N
};
using Piece = void (*)(const Job&, int64_t row_begin, int64_t row_end);

inline void store(const Job& job, int64_t n, int64_t m, float sum) {
  job.out[m * job.width + n] = job.bias ? sum + job.bias[n] : sum;
}

inline float widen(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// For processors without the vectors below: sixteen partial sums, x in float32.
template <bool kHalfWeight>
void piece_plain(const Job& job, int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; ++n) {
    const float* w = static_cast<const float*>(job.weight) + n * job.depth;
    const uint16_t* h = static_cast<const uint16_t*>(job.weight) + n * job.depth;
    for (int64_t m = 0; m < job.rows; ++m) {
      const float* x = static_cast<const float*>(job.x) + m * job.depth;
      float lanes[16] = {};
      const auto value = [&](int64_t k) { return (kHalfWeight ? widen(h[k]) : w[k]) * x[k]; };
      const int64_t whole = job.depth / 16 * 16;
      for (int64_t k = 0; k < whole; k += 16)
        for (int64_t l = 0; l < 16; ++l) lanes[l] += value(k + l);
      for (int64_t k = whole; k < job.depth; ++k) lanes[k - whole] += value(k);
      for (int64_t wide = 8; wide > 0; wide /= 2)
        for (int64_t l = 0; l < wide; ++l) lanes[l] += lanes[l + wide];
      store(job, n, m, lanes[0]);
    }
  }
}

#if defined(__x86_64__)

// A tile is kTall weight rows by kWide rows of x, one vector accumulator each, summed across lanes at the
// end: weights are read once from memory, x comes from the first-level cache. Every accumulator adds in the
// same order whatever the tile's shape.
#define PAN_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define PAN_TARGET_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define PAN_TARGET_AVX2 __attribute__((target("avx2,fma")))

// Sums across lanes, always in the order (l, l+8), (l, l+2), (l, l+1), (l, l+4), so that tiles of all shapes
// agree to the bit.
PAN_TARGET_AVX512 inline __m256 fold(__m512 v) {
  return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}

PAN_TARGET_AVX512 inline float sum_one(__m512 v) {
  __m256 t = fold(v);
  t = _mm256_add_ps(t, _mm256_permute_ps(t, 0x4E));
  t = _mm256_add_ps(t, _mm256_permute_ps(t, 0xB1));
  return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1)));
}

// Four sums at once: lane i of the result is the sum of v[i].
PAN_TARGET_AVX512 inline __m128 sum_four(const __m512* v) {
  const __m256 a = fold(v[0]), b = fold(v[1]), c = fold(v[2]), d = fold(v[3]);
  const __m256 ab =
      _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));  // a02 b02 a13 b13 | a46 ...
  const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const __m256 low = _mm256_shuffle_ps(ab, cd, 0x44), high = _mm256_shuffle_ps(ab, cd, 0xEE);
  const __m256 all = _mm256_add_ps(low, high);  // a b c d of lanes 0..3 | of lanes 4..7
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

template <int kTall, int kWide>
PAN_TARGET_AVX512 inline void store_tile(const Job& job, int64_t n, int64_t m, __m512 (&sum)[kTall][kWide]) {
#pragma GCC unroll 8
  for (int i = 0; i < kTall; ++i) {
    if constexpr (kWide % 4 == 0) {
#pragma GCC unroll 8
      for (int j = 0; j < kWide; j += 4) {
        float four[4];
        _mm_storeu_ps(four, sum_four(&sum[i][j]));
        for (int l = 0; l < 4; ++l) store(job, n + i, m + j + l, four[l]);
      }
    } else {
      for (int j = 0; j < kWide; ++j) store(job, n + i, m + j, sum_one(sum[i][j]));
    }
  }
}

template <int kTall, int kWide>
PAN_TARGET_AVX512 void tile_f32(const Job& job, int64_t n, int64_t m) {
  const int64_t depth = job.depth;
  const float* w = static_cast<const float*>(job.weight) + n * depth;
  const float* x = static_cast<const float*>(job.x) + m * depth;
  __m512 sum[kTall][kWide];
#pragma GCC unroll 8
  for (int i = 0; i < kTall; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) sum[i][j] = _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; k += 16) {
    const __mmask16 mask = depth - k >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << (depth - k)) - 1);
    __m512 a[kTall];
#pragma GCC unroll 8
    for (int i = 0; i < kTall; ++i) {
      a[i] = _mm512_maskz_loadu_ps(mask, w + i * depth + k);
      _mm_prefetch(reinterpret_cast<const char*>(w + (i + kTall) * depth + k),
                   _MM_HINT_T0);  // the next tile's
    }
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) {
      const __m512 b = _mm512_maskz_loadu_ps(mask, x + j * depth + k);
#pragma GCC unroll 8
      for (int i = 0; i < kTall; ++i) sum[i][j] = _mm512_fmadd_ps(a[i], b, sum[i][j]);
    }
  }
  store_tile(job, n, m, sum);
}

// bfloat16 pairs by the processor's own dot product; x and weight in bfloat16.
template <int kTall, int kWide>
PAN_TARGET_AVX512_BF16 void tile_bf16(const Job& job, int64_t n, int64_t m) {
  const int64_t depth = job.depth;
  const uint16_t* w = static_cast<const uint16_t*>(job.weight) + n * depth;
  const uint16_t* x = static_cast<const uint16_t*>(job.x) + m * depth;
  __m512 sum[kTall][kWide];
#pragma GCC unroll 8
  for (int i = 0; i < kTall; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) sum[i][j] = _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; k += 32) {
    const __mmask32 mask = depth - k >= 32 ? 0xFFFFFFFFu : (1u << (depth - k)) - 1;
    __m512i a[kTall];
#pragma GCC unroll 8
    for (int i = 0; i < kTall; ++i) {
      a[i] = _mm512_maskz_loadu_epi16(mask, w + i * depth + k);
      _mm_prefetch(reinterpret_cast<const char*>(w + (i + kTall) * depth + k),
                   _MM_HINT_T0);  // the next tile's
    }
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) {
      const __m512i b = _mm512_maskz_loadu_epi16(mask, x + j * depth + k);
#pragma GCC unroll 8
      for (int i = 0; i < kTall; ++i) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], (__m512bh)a[i], (__m512bh)b);
    }
  }
  store_tile(job, n, m, sum);
}

PAN_TARGET_AVX2 inline float sum_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

// The weight in float32 or bfloat16 (widened as it is read), x in float32.
template <bool kHalfWeight, int kTall, int kWide>
PAN_TARGET_AVX2 void tile_avx2(const Job& job, int64_t n, int64_t m) {
  const int64_t depth = job.depth, whole = depth / 8 * 8;
  const float* w = static_cast<const float*>(job.weight) + n * depth;
  const uint16_t* h = static_cast<const uint16_t*>(job.weight) + n * depth;
  const float* x = static_cast<const float*>(job.x) + m * depth;
  __m256 sum[kTall][kWide];
#pragma GCC unroll 8
  for (int i = 0; i < kTall; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) sum[i][j] = _mm256_setzero_ps();
  for (int64_t k = 0; k < whole; k += 8) {
    __m256 a[kTall];
#pragma GCC unroll 8
    for (int i = 0; i < kTall; ++i) {
      if constexpr (kHalfWeight) {
        const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(h + i * depth + k));
        a[i] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
      } else {
        a[i] = _mm256_loadu_ps(w + i * depth + k);
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) {
      const __m256 b = _mm256_loadu_ps(x + j * depth + k);
#pragma GCC unroll 8
      for (int i = 0; i < kTall; ++i) sum[i][j] = _mm256_fmadd_ps(a[i], b, sum[i][j]);
    }
  }
  for (int i = 0; i < kTall; ++i) {
    for (int j = 0; j < kWide; ++j) {
      float total = sum_lanes(sum[i][j]);
      for (int64_t k = whole; k < depth; ++k)
        total += (kHalfWeight ? widen(h[i * depth + k]) : w[i * depth + k]) * x[j * depth + k];
      store(job, n + i, m + j, total);
    }
  }
}

// Covers [begin, end) x all rows of x with tiles of kTall x kWide, narrower ones at the edges.
template <int kTall, int kWide, class Tile>
void cover(const Job& job, int64_t begin, int64_t end, const Tile& tile) {
  int64_t n = begin;
  for (; n + kTall <= end; n += kTall) {
    int64_t m = 0;
    for (; m + kWide <= job.rows; m += kWide) tile.template operator()<kTall, kWide>(n, m);
    if (kWide > 4 && m + 4 <= job.rows) {
      tile.template operator()<kTall, 4>(n, m);
      m += 4;
    }
    for (; m < job.rows; ++m) tile.template operator()<kTall, 1>(n, m);
  }
  for (; n < end; ++n)
    for (int64_t m = 0; m < job.rows; ++m) tile.template operator()<1, 1>(n, m);
}

void piece_avx512(const Job& job, int64_t begin, int64_t end) {
  cover<3, 8>(job, begin, end, [&]<int t, int w>(int64_t n, int64_t m) { tile_f32<t, w>(job, n, m); });
}
void piece_avx512_bf16(const Job& job, int64_t begin, int64_t end) {
  cover<3, 8>(job, begin, end, [&]<int t, int w>(int64_t n, int64_t m) { tile_bf16<t, w>(job, n, m); });
}
template <bool kHalfWeight>
void piece_avx2(const Job& job, int64_t begin, int64_t end) {
  cover<2, 4>(job, begin, end,
              [&]<int t, int w>(int64_t n, int64_t m) { tile_avx2<kHalfWeight, t, w>(job, n, m); });
}

// The code for this processor.
Piece choose(bool is_bf16) {
  switch (kernels::active_isa()) {
    case kernels::Isa::avx512:
      if (!is_bf16) return piece_avx512;
      return kernels::has_native_bf16() ? piece_avx512_bf16 : piece_avx2<true>;
    case kernels::Isa::avx2:
      return is_bf16 ? piece_avx2<true> : piece_avx2<false>;
    case kernels::Isa::baseline:
      break;
  }
  return is_bf16 ? piece_plain<true> : piece_plain<false>;
}

// Whether choose() takes x as bfloat16.
bool wants_bf16_rows(Piece piece) { return piece == piece_avx512_bf16; }

#else

Piece choose(bool is_bf16) { return is_bf16 ? piece_plain<true> : piece_plain<false>; }
bool wants_bf16_rows(Piece) { return false; }

#endif

bool is_suitable(const at::Tensor& x, const at::Tensor& weight, bool wide) {
  const at::ScalarType type = x.scalar_type();
  // The library rounds bfloat16 results, so wide ones are made here however many rows there are.
  const bool is_few = x.size(0) <= kSmallRows || (wide && type == at::kBFloat16);
  return x.is_cpu() && x.dim() == 2 && x.size(0) > 0 && is_few && weight.scalar_type() == type &&
         (type == at::kFloat || type == at::kBFloat16) && weight.is_contiguous();
}

}  // namespace

at::Tensor small_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, bool wide) {
  if (!is_suitable(x, weight, wide)) {
    if (wide && x.is_cuda() && x.scalar_type() == at::kBFloat16) {
      const at::Tensor out = at::mm(x, weight.t(), at::kFloat);
      return bias.defined() ? out.add(bias) : out;
    }
    const at::Tensor out = at::linear(x, weight, bias);
    return wide ? out.to(at::kFloat) : out;
  }
  const Piece piece = choose(x.scalar_type() == at::kBFloat16);
  const at::Tensor rows = (wants_bf16_rows(piece) ? x : x.to(at::kFloat)).contiguous();
  const at::Tensor wide_bias = bias.defined() ? bias.to(at::kFloat) : at::Tensor();
  at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options().dtype(at::kFloat));
  const Job job = {rows.const_data_ptr(),
                   weight.const_data_ptr(),
                   bias.defined() ? wide_bias.const_data_ptr<float>() : nullptr,
                   out.mutable_data_ptr<float>(),
                   x.size(0),
                   x.size(1),
                   weight.size(0)};
  // Pieces of whole tiles, so that the cut never shows; at least 64 Ki multiplications a piece.
  const int64_t tiles = (job.width + 5) / 6,
                grain = std::max<int64_t>(1, (int64_t{1} << 16) / (6 * job.depth * job.rows));
  at::parallel_for(0, tiles, grain,
                   [&](int64_t begin, int64_t end) { piece(job, begin * 6, std::min(end * 6, job.width)); });
  return wide || x.scalar_type() == at::kFloat ? out : out.to(x.scalar_type());
}

}  // namespace pan::model
