#include "core/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace pan::core::rng {
namespace {

TEST(Rng, DependsOnlyOnTheKey) {
  const Key key{7, Purpose::kSample, 3, 11};
  EXPECT_EQ(uniform(key), uniform(key));
  EXPECT_NE(uniform(key), uniform({7, Purpose::kSample, 3, 12}));
  EXPECT_NE(uniform(key), uniform({7, Purpose::kSample, 4, 11}));
  EXPECT_NE(uniform(key), uniform({8, Purpose::kSample, 3, 11}));
  EXPECT_NE(uniform(key), uniform({7, Purpose::kShuffle, 3, 11}));
  EXPECT_NE(uniform(key), uniform({7, Purpose::kSample, 3 + (1ull << 32), 11}));
}

TEST(Rng, UniformHasTheMomentsOfTheUniformDistribution) {
  const int n = 200000;
  double sum = 0, square = 0;
  for (int i = 0; i < n; ++i) {
    const double u = uniform({1, Purpose::kTest, 5, static_cast<uint64_t>(i)});
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    square += u * u;
  }
  // Six standard errors: a right generator fails once in 5e8 runs.
  EXPECT_NEAR(sum / n, 0.5, 6 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(square / n, 1.0 / 3, 6 * std::sqrt(4.0 / 45 / n));
}

TEST(Rng, BelowCoversItsRangeEvenly) {
  Stream stream({2, Purpose::kTest, 0, 0});
  std::vector<int> counts(7);
  const int n = 70000;
  for (int i = 0; i < n; ++i) ++counts[stream.below(7)];
  double chi2 = 0;
  for (int c : counts) chi2 += (c - n / 7.0) * (c - n / 7.0) / (n / 7.0);
  EXPECT_LT(chi2, 38.3);  // 6 degrees of freedom, p = 1e-6
}

TEST(Rng, ShuffleIsAPermutation) {
  std::vector<int> v(100);
  std::iota(v.begin(), v.end(), 0);
  Stream stream({3, Purpose::kShuffle, 0, 0});
  stream.shuffle(v);
  EXPECT_FALSE(std::is_sorted(v.begin(), v.end()));
  std::sort(v.begin(), v.end());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(v[i], i);
}

TEST(Rng, NormalHasUnitVariance) {
  Stream stream({4, Purpose::kInit, 0, 0});
  const int n = 100000;
  double sum = 0, square = 0;
  for (int i = 0; i < n; ++i) {
    const double x = stream.normal();
    sum += x;
    square += x * x;
  }
  EXPECT_NEAR(sum / n, 0.0, 6 / std::sqrt(n));
  EXPECT_NEAR(square / n, 1.0, 6 * std::sqrt(2.0 / n));
}

}  // namespace
}  // namespace pan::core::rng
