#include "eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/rng.h"

namespace pan::eval {

Bounds wilson(int64_t successes, int64_t n) {
  if (n == 0) return {0, 1};
  constexpr double z = 1.959963984540054;
  const double count = static_cast<double>(n), p = static_cast<double>(successes) / count, z2 = z * z;
  const double centre = p + z2 / (2 * count);
  const double half = z * std::sqrt(p * (1 - p) / count + z2 / (4 * count * count));
  // The bounds of all wrong and all right are exactly 0 and 1; rounding would miss them.
  return {successes == 0 ? 0.0 : (centre - half) / (1 + z2 / count),
          successes == n ? 1.0 : (centre + half) / (1 + z2 / count)};
}

Bounds bootstrap_ratio(const std::vector<double>& numerators, const std::vector<double>& denominators,
                       uint64_t seed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (numerators.empty()) return {nan, nan};
  constexpr size_t kRounds = 2000;
  std::vector<double> ratios(kRounds);
  for (size_t round = 0; round < kRounds; ++round) {
    core::rng::Stream stream({seed, core::rng::Purpose::kBootstrap, round, 0});
    double above = 0, below = 0;
    for (size_t i = 0; i < numerators.size(); ++i) {
      const size_t drawn = stream.below(numerators.size());
      above += numerators[drawn];
      below += denominators[drawn];
    }
    ratios[round] = above / below;
  }
  std::sort(ratios.begin(), ratios.end());
  return {ratios[kRounds * 25 / 1000], ratios[kRounds * 975 / 1000 - 1]};
}

Bounds bootstrap_mean(const std::vector<double>& items, uint64_t seed) {
  return bootstrap_ratio(items, std::vector<double>(items.size(), 1.0), seed);
}

double pass_at_k(int64_t n, int64_t c, int64_t k) {
  if (n - c < k) return 1.0;
  double none = 1.0;
  for (int64_t i = n - c + 1; i <= n; ++i) none *= 1.0 - static_cast<double>(k) / static_cast<double>(i);
  return 1.0 - none;
}

}  // namespace pan::eval
