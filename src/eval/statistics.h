// Intervals of an evaluation.
#pragma once

#include <cstdint>
#include <vector>

namespace pan::eval {

struct Bounds {
  double low = 0, high = 0;
};

// 95 % Wilson score interval of a share (Wilson 1927). n = 0: [0, 1].
Bounds wilson(int64_t successes, int64_t n);

// 95 % percentile interval of the mean by resampling items, 2,000 times, with the stream (seed, kBootstrap).
// Empty: NaN.
Bounds bootstrap_mean(const std::vector<double>& items, uint64_t seed);

// The same of sum(numerators) / sum(denominators), the two of an item going together. The denominators are
// positive.
Bounds bootstrap_ratio(const std::vector<double>& numerators, const std::vector<double>& denominators,
                       uint64_t seed);

// Unbiased estimate of pass@k from n samples of which c are right: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021,
// Eq. 1). 1 <= k <= n.
double pass_at_k(int64_t n, int64_t c, int64_t k);

}  // namespace pan::eval
