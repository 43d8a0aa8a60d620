#include "kernels/bench/peak.h"

#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>

#include "kernels/isa.h"

namespace pan::kernels::bench {
namespace {

constexpr int kRounds = 2000000;
constexpr int kChains = 12;  // independent sums: more than latency times width, fewer than the registers

// One body; the attribute of the caller decides the instructions.
template <class Vec>
__attribute__((always_inline)) inline float run_chains() {
  Vec sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = Vec{} + static_cast<float>(i);
  Vec a = Vec{} + 0.999f, b = Vec{} + 1e-3f;
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = sum[i] * a + b;
  }
  float total = 0;
  for (int i = 0; i < kChains; ++i) total += sum[i][0];
  return total;
}

typedef float Vec4 __attribute__((vector_size(16)));
float run_baseline() { return run_chains<Vec4>(); }
#if defined(__x86_64__)
typedef float Vec8 __attribute__((vector_size(32)));
typedef float Vec16 __attribute__((vector_size(64)));
__attribute__((target("avx2,fma"))) float run_avx2() { return run_chains<Vec8>(); }
__attribute__((target("avx512f,fma"))) float run_avx512() { return run_chains<Vec16>(); }
__attribute__((target("avx512f,avx512bf16"))) float run_bfloat16() {
  __m512 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3f80);
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], ones, ones);
  }
  float total = 0;
  for (int i = 0; i < kChains; ++i) total += sum[i][0];
  return total;
}
#endif

double seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// `flops`: of one instruction.
double measure(float (*run)(), int flops) {
  volatile float keep = 0;
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const double begin = seconds();
    keep = keep + run();
    best = std::max(best, 1e-9 * kRounds * kChains * flops / (seconds() - begin));
  }
  return best;
}

}  // namespace

double peak_gflops() {
#if defined(__x86_64__)
  if (active_isa() == Isa::avx512) return measure(run_avx512, 32);
  if (active_isa() == Isa::avx2) return measure(run_avx2, 16);
#endif
  return measure(run_baseline, 8);
}

double peak_bfloat16_gflops() {
#if defined(__x86_64__)
  if (has_native_bf16()) return measure(run_bfloat16, 64);
#endif
  return peak_gflops();
}

}  // namespace pan::kernels::bench
