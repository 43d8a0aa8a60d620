#include "kernels/bench/peak.h"

#include <time.h>

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
#endif

double seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

double peak_gflops() {
  int lanes = 4;
  float (*run)() = run_baseline;
#if defined(__x86_64__)
  if (best_isa() == Isa::avx512) {
    lanes = 16, run = run_avx512;
  } else if (best_isa() == Isa::avx2) {
    lanes = 8, run = run_avx2;
  }
#endif
  volatile float keep = 0;
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const double begin = seconds();
    keep = keep + run();
    best = std::max(best, 2e-9 * kRounds * kChains * lanes / (seconds() - begin));
  }
  return best;
}

}  // namespace pan::kernels::bench
