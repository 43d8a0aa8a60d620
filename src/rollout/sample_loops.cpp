#include "rollout/sample_loops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/isa.h"

// Vectors of 16 floats in the compiler's own notation: one register with AVX-512, two with AVX2, four
// without. Each loop is one always-inlined body, instantiated under the target attribute of every instruction
// set. Built with -ffp-contract=off (CMakeLists.txt): fused multiply-adds would make the sets differ.
#if defined(__x86_64__)
#define PAN_TARGET_AVX2 __attribute__((target("avx2,fma")))
#define PAN_TARGET_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")))
#endif
#define PAN_BODY static inline __attribute__((always_inline))

namespace pan::rollout {
namespace {

constexpr int64_t kLanes = 16;
static_assert(kSampleBlock % kLanes == 0);

// Below this exponent a weight counts as 0: exp(-87) is close to the smallest normal float.
constexpr float kLowest = -87.0f;

// A register of kBytes in the compiler's own notation.
template <int kBytes>
struct Register {
  typedef float Floats __attribute__((vector_size(kBytes)));
  typedef int32_t Ints __attribute__((vector_size(kBytes)));
  static constexpr int kWidth = kBytes / 4;
  static constexpr int kCount = kLanes / kWidth;  // registers for all lanes
};

template <class V>
PAN_BODY void load(const float* p, V& v) {
  std::memcpy(&v, p, sizeof v);
}
template <class V>
PAN_BODY void store(float* p, const V& v) {
  std::memcpy(p, &v, sizeof v);
}

// exp for x in [kLowest, 0]: 2^n * e^r with |r| <= ln2 / 2, e^r by its Taylor polynomial of degree 7
// (truncation error below 6e-9 relative).
template <class R>
PAN_BODY void exp_in_place(typename R::Floats& x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const typename R::Floats shifted = x * 1.44269504088896341f + kMagic;
  const typename R::Floats n = shifted - kMagic;
  // ln 2 in two parts, so that n * ln2 is subtracted without loss.
  const typename R::Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  typename R::Floats p = r * (1.0f / 5040) + (1.0f / 720);
  p = p * r + (1.0f / 120);
  p = p * r + (1.0f / 24);
  p = p * r + (1.0f / 6);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // The high bits of kMagic are shifted out.
  const typename R::Ints exponent = (reinterpret_cast<typename R::Ints>(shifted) << 23) + (127 << 23);
  x = p * reinterpret_cast<typename R::Floats>(exponent);
}

template <class R>
PAN_BODY double sum_of(const typename R::Floats* v) {
  double s = 0;
  for (int j = 0; j < R::kCount; ++j)
    for (int i = 0; i < R::kWidth; ++i) s += static_cast<double>(v[j][i]);
  return s;
}

template <class R>
PAN_BODY RowMax row_max_body(const float* logits, int64_t n) {
  using Floats = typename R::Floats;
  Floats best[R::kCount];
  typename R::Ints nan[R::kCount];
  for (int j = 0; j < R::kCount; ++j) {
    best[j] = Floats{} - std::numeric_limits<float>::infinity();
    nan[j] = typename R::Ints{};
  }
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int j = 0; j < R::kCount; ++j) {
      Floats x;
      load(logits + i + j * R::kWidth, x);
      best[j] = x > best[j] ? x : best[j];
      nan[j] |= x != x;
    }
  RowMax out{-std::numeric_limits<float>::infinity(), false};
  for (int j = 0; j < R::kCount; ++j)
    for (int lane = 0; lane < R::kWidth; ++lane) {
      out.max = std::max(out.max, best[j][lane]);
      out.has_nan = out.has_nan || nan[j][lane] != 0;
    }
  for (; i < n; ++i) {
    out.has_nan = out.has_nan || logits[i] != logits[i];
    out.max = logits[i] > out.max ? logits[i] : out.max;
  }
  return out;
}

// What is the same for every element of a row, and the sums of a block.
template <class R>
struct ExpState {
  float max, inverse_temperature;
  typename R::Floats sums[R::kCount], spreads[R::kCount];
};

// Weights of 16 logits and their share of the sums.
template <class R>
PAN_BODY void exp_lanes(const float* logits, float* weights, ExpState<R>& state) {
  using Floats = typename R::Floats;
  for (int j = 0; j < R::kCount; ++j) {
    Floats x;
    load(logits + j * R::kWidth, x);
    x = (x - state.max) * state.inverse_temperature;
    const typename R::Ints dead = x < kLowest;  // -infinity among them
    x = dead ? Floats{} + kLowest : x;
    Floats e = x;
    exp_in_place<R>(e);
    e = dead ? Floats{} : e;
    state.sums[j] += e;
    state.spreads[j] += e * x;
    store(weights + j * R::kWidth, e);
  }
}

// One block of up to kSampleBlock elements.
template <class R>
PAN_BODY void exp_block(const float* logits, int64_t n, float* weights, ExpState<R>& state) {
  for (int j = 0; j < R::kCount; ++j) state.sums[j] = state.spreads[j] = typename R::Floats{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) exp_lanes<R>(logits + i, weights + i, state);
  if (i < n) {  // the rest, filled up with elements of weight 0
    float in[kLanes], out[kLanes];
    for (float& x : in) x = -std::numeric_limits<float>::infinity();
    const auto rest = static_cast<size_t>(n - i) * sizeof(float);
    std::memcpy(in, logits + i, rest);
    exp_lanes<R>(in, out, state);
    std::memcpy(weights + i, out, rest);
  }
}

template <class R>
PAN_BODY RowSums exp_row_body(const float* logits, int64_t n, float max, float inverse_temperature,
                              float* weights, double* block_sums) {
  RowSums out;
  ExpState<R> state;
  state.max = max;
  state.inverse_temperature = inverse_temperature;
  for (int64_t begin = 0, block = 0; begin < n; begin += kSampleBlock, ++block) {
    exp_block<R>(logits + begin, std::min(kSampleBlock, n - begin), weights + begin, state);
    block_sums[block] = sum_of<R>(state.sums);
    out.total += block_sums[block];
    out.spread += sum_of<R>(state.spreads);
  }
  return out;
}

template <class R>
PAN_BODY double sum_blocks_body(const float* weights, int64_t n, double* block_sums) {
  double all = 0;
  for (int64_t begin = 0, block = 0; begin < n; begin += kSampleBlock, ++block) {
    const int64_t end = std::min(begin + kSampleBlock, n);
    typename R::Floats sums[R::kCount] = {};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      for (int j = 0; j < R::kCount; ++j) {
        typename R::Floats x;
        load(weights + i + j * R::kWidth, x);
        sums[j] += x;
      }
    for (int64_t lane = 0; i < end; ++i, ++lane) sums[lane / R::kWidth][lane % R::kWidth] += weights[i];
    block_sums[block] = sum_of<R>(sums);
    all += block_sums[block];
  }
  return all;
}

#if defined(__x86_64__)
PAN_TARGET_AVX2 RowMax row_max_avx2(const float* l, int64_t n) { return row_max_body<Register<32>>(l, n); }
PAN_TARGET_AVX512 RowMax row_max_avx512(const float* l, int64_t n) {
  return row_max_body<Register<64>>(l, n);
}
PAN_TARGET_AVX2 RowSums exp_row_avx2(const float* l, int64_t n, float m, float t, float* w, double* b) {
  return exp_row_body<Register<32>>(l, n, m, t, w, b);
}
PAN_TARGET_AVX512 RowSums exp_row_avx512(const float* l, int64_t n, float m, float t, float* w, double* b) {
  return exp_row_body<Register<64>>(l, n, m, t, w, b);
}
PAN_TARGET_AVX2 double sum_blocks_avx2(const float* w, int64_t n, double* b) {
  return sum_blocks_body<Register<32>>(w, n, b);
}
PAN_TARGET_AVX512 double sum_blocks_avx512(const float* w, int64_t n, double* b) {
  return sum_blocks_body<Register<64>>(w, n, b);
}
#endif

}  // namespace

RowMax row_max(const float* logits, int64_t n) {
#if defined(__x86_64__)
  if (kernels::active_isa() == kernels::Isa::avx512) return row_max_avx512(logits, n);
  if (kernels::active_isa() == kernels::Isa::avx2) return row_max_avx2(logits, n);
#endif
  return row_max_body<Register<16>>(logits, n);
}

RowSums exp_row(const float* logits, int64_t n, float max, float inverse_temperature, float* weights,
                double* block_sums) {
#if defined(__x86_64__)
  if (kernels::active_isa() == kernels::Isa::avx512)
    return exp_row_avx512(logits, n, max, inverse_temperature, weights, block_sums);
  if (kernels::active_isa() == kernels::Isa::avx2)
    return exp_row_avx2(logits, n, max, inverse_temperature, weights, block_sums);
#endif
  return exp_row_body<Register<16>>(logits, n, max, inverse_temperature, weights, block_sums);
}

double sum_blocks(const float* weights, int64_t n, double* block_sums) {
#if defined(__x86_64__)
  if (kernels::active_isa() == kernels::Isa::avx512) return sum_blocks_avx512(weights, n, block_sums);
  if (kernels::active_isa() == kernels::Isa::avx2) return sum_blocks_avx2(weights, n, block_sums);
#endif
  return sum_blocks_body<Register<16>>(weights, n, block_sums);
}

int64_t invert_cdf(const float* weights, int64_t n, const double* block_sums, double total, double u) {
  const double target = u * total;
  const int64_t num_blocks = num_sample_blocks(n);
  double below = 0;
  int64_t block = -1;  // the first whose end lies beyond the target, else the last that is not empty
  for (int64_t j = 0; j < num_blocks; ++j) {
    if (block_sums[j] <= 0) continue;
    block = j;
    if (below + block_sums[j] > target) break;
    below += block_sums[j];
  }
  // Inside, the plain sum can end a rounding below the block's sum; the last token of positive weight takes
  // that sliver.
  int64_t chosen = -1;
  const int64_t end = std::min(n, (block + 1) * kSampleBlock);
  for (int64_t i = block * kSampleBlock; i < end; ++i) {
    if (!(weights[i] > 0)) continue;
    chosen = i;
    below += static_cast<double>(weights[i]);
    if (below > target) break;
  }
  return chosen;
}

}  // namespace pan::rollout
