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
using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
static_assert(kSampleBlock % kLanes == 0);

// Below this exponent a weight counts as 0: exp(-87) is close to the smallest normal float.
constexpr float kLowest = -87.0f;

PAN_BODY void load(const float* p, Floats& v) { std::memcpy(&v, p, sizeof v); }
PAN_BODY void store(float* p, const Floats& v) { std::memcpy(p, &v, sizeof v); }

// exp for x in [kLowest, 0]: 2^n * e^r with |r| <= ln2 / 2, e^r by its Taylor polynomial of degree 7
// (truncation error below 6e-9 relative).
PAN_BODY void exp_in_place(Floats& x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const Floats shifted = x * 1.44269504088896341f + kMagic;
  const Floats n = shifted - kMagic;
  // ln 2 in two parts, so that n * ln2 is subtracted without loss.
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = r * (1.0f / 5040) + (1.0f / 720);
  p = p * r + (1.0f / 120);
  p = p * r + (1.0f / 24);
  p = p * r + (1.0f / 6);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Ints exponent;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  exponent = (exponent << 23) + (127 << 23);  // the high bits of kMagic are shifted out
  Floats scale;
  std::memcpy(&scale, &exponent, sizeof scale);
  x = p * scale;
}

PAN_BODY double sum_of(const Floats& v) {
  double s = 0;
  for (int i = 0; i < kLanes; ++i) s += static_cast<double>(v[i]);
  return s;
}

PAN_BODY RowMax row_max_body(const float* logits, int64_t n) {
  Floats best = Floats{} - std::numeric_limits<float>::infinity();
  Ints nan = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Floats x;
    load(logits + i, x);
    best = x > best ? x : best;
    nan |= x != x;
  }
  RowMax out{-std::numeric_limits<float>::infinity(), false};
  for (int j = 0; j < kLanes; ++j) {
    out.max = std::max(out.max, best[j]);
    out.has_nan = out.has_nan || nan[j] != 0;
  }
  for (; i < n; ++i) {
    out.has_nan = out.has_nan || logits[i] != logits[i];
    out.max = logits[i] > out.max ? logits[i] : out.max;
  }
  return out;
}

// Weights of 16 logits, in place, and their share of the sums.
PAN_BODY void exp_lanes(Floats& x, float max, float inverse_temperature, Floats& sums, Floats& spreads) {
  x = (x - max) * inverse_temperature;
  const Ints dead = x < kLowest;  // -infinity among them
  x = dead ? Floats{} + kLowest : x;
  Floats e = x;
  exp_in_place(e);
  e = dead ? Floats{} : e;
  sums += e;
  spreads += e * x;
  x = e;
}

// One block of up to kSampleBlock elements.
PAN_BODY void exp_block(const float* logits, int64_t n, float max, float inverse_temperature, float* weights,
                        double& total, double& spread) {
  Floats sums = {}, spreads = {}, x;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    load(logits + i, x);
    exp_lanes(x, max, inverse_temperature, sums, spreads);
    store(weights + i, x);
  }
  if (i < n) {  // the rest, filled up with elements of weight 0
    x = Floats{} - std::numeric_limits<float>::infinity();
    const auto rest = static_cast<size_t>(n - i) * sizeof(float);
    std::memcpy(&x, logits + i, rest);
    exp_lanes(x, max, inverse_temperature, sums, spreads);
    std::memcpy(weights + i, &x, rest);
  }
  total = sum_of(sums);
  spread = sum_of(spreads);
}

PAN_BODY RowSums exp_row_body(const float* logits, int64_t n, float max, float inverse_temperature,
                              float* weights, double* block_sums) {
  RowSums out;
  for (int64_t begin = 0, j = 0; begin < n; begin += kSampleBlock, ++j) {
    double total, spread;
    exp_block(logits + begin, std::min(kSampleBlock, n - begin), max, inverse_temperature, weights + begin,
              total, spread);
    block_sums[j] = total;
    out.total += total;
    out.spread += spread;
  }
  return out;
}

PAN_BODY double sum_blocks_body(const float* weights, int64_t n, double* block_sums) {
  double all = 0;
  for (int64_t begin = 0, j = 0; begin < n; begin += kSampleBlock, ++j) {
    const int64_t end = std::min(begin + kSampleBlock, n);
    Floats sums = {};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      Floats x;
      load(weights + i, x);
      sums += x;
    }
    for (int64_t lane = 0; i < end; ++i, ++lane) sums[lane] += weights[i];
    block_sums[j] = sum_of(sums);
    all += block_sums[j];
  }
  return all;
}

#if defined(__x86_64__)
PAN_TARGET_AVX2 RowMax row_max_avx2(const float* l, int64_t n) { return row_max_body(l, n); }
PAN_TARGET_AVX512 RowMax row_max_avx512(const float* l, int64_t n) { return row_max_body(l, n); }
PAN_TARGET_AVX2 RowSums exp_row_avx2(const float* l, int64_t n, float m, float t, float* w, double* b) {
  return exp_row_body(l, n, m, t, w, b);
}
PAN_TARGET_AVX512 RowSums exp_row_avx512(const float* l, int64_t n, float m, float t, float* w, double* b) {
  return exp_row_body(l, n, m, t, w, b);
}
PAN_TARGET_AVX2 double sum_blocks_avx2(const float* w, int64_t n, double* b) {
  return sum_blocks_body(w, n, b);
}
PAN_TARGET_AVX512 double sum_blocks_avx512(const float* w, int64_t n, double* b) {
  return sum_blocks_body(w, n, b);
}
#endif

}  // namespace

RowMax row_max(const float* logits, int64_t n) {
#if defined(__x86_64__)
  if (kernels::active_isa() == kernels::Isa::avx512) return row_max_avx512(logits, n);
  if (kernels::active_isa() == kernels::Isa::avx2) return row_max_avx2(logits, n);
#endif
  return row_max_body(logits, n);
}

RowSums exp_row(const float* logits, int64_t n, float max, float inverse_temperature, float* weights,
                double* block_sums) {
#if defined(__x86_64__)
  if (kernels::active_isa() == kernels::Isa::avx512)
    return exp_row_avx512(logits, n, max, inverse_temperature, weights, block_sums);
  if (kernels::active_isa() == kernels::Isa::avx2)
    return exp_row_avx2(logits, n, max, inverse_temperature, weights, block_sums);
#endif
  return exp_row_body(logits, n, max, inverse_temperature, weights, block_sums);
}

double sum_blocks(const float* weights, int64_t n, double* block_sums) {
#if defined(__x86_64__)
  if (kernels::active_isa() == kernels::Isa::avx512) return sum_blocks_avx512(weights, n, block_sums);
  if (kernels::active_isa() == kernels::Isa::avx2) return sum_blocks_avx2(weights, n, block_sums);
#endif
  return sum_blocks_body(weights, n, block_sums);
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
