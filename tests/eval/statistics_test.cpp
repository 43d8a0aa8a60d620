#include "eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace pan::eval {
namespace {

// Reference values: the closed form in double precision, by an independent Python expression.
TEST(Wilson, MatchesPublishedValues) {
  EXPECT_NEAR(wilson(0, 10).low, 0.0, 1e-12);
  EXPECT_NEAR(wilson(0, 10).high, 0.2775327998628892, 1e-12);
  EXPECT_NEAR(wilson(35, 128).low, 0.2036699978045802, 1e-12);
  EXPECT_NEAR(wilson(10, 10).high, 1.0, 1e-12);
  EXPECT_EQ(wilson(0, 0).high, 1.0);
}

TEST(Wilson, IsSymmetric) {
  const Bounds a = wilson(30, 100), b = wilson(70, 100);
  EXPECT_NEAR(a.low, 1 - b.high, 1e-12);
  EXPECT_NEAR(a.high, 1 - b.low, 1e-12);
}

TEST(Bootstrap, CoversTheNormalInterval) {
  std::vector<double> items;
  for (int i = 0; i < 400; ++i) items.push_back(i % 4 == 0 ? 1.0 : 0.0);
  const Bounds b = bootstrap_mean(items, 1);
  const double half = 1.96 * std::sqrt(0.25 * 0.75 / 400);
  EXPECT_NEAR(b.low, 0.25 - half, 0.01);
  EXPECT_NEAR(b.high, 0.25 + half, 0.01);
  const Bounds again = bootstrap_mean(items, 1);
  EXPECT_EQ(b.low, again.low);
  EXPECT_TRUE(std::isnan(bootstrap_mean({}, 1).low));
}

// Cells of puzzles of two sizes. The delta method: the variance of a ratio R of sums is that of the sum of
// numerator - R denominator, over the square of the denominators' sum.
TEST(Bootstrap, OfARatioCoversTheNormalInterval) {
  std::vector<double> right, all;
  for (int i = 0; i < 400; ++i) {
    all.push_back(i % 2 == 0 ? 4 : 9);
    right.push_back(i % 2 == 0 ? i % 5 : i % 10);
  }
  double above = 0, below = 0, squares = 0;
  for (size_t i = 0; i < all.size(); ++i) above += right[i], below += all[i];
  for (size_t i = 0; i < all.size(); ++i) squares += std::pow(right[i] - above / below * all[i], 2);
  const double half = 1.96 * std::sqrt(squares) / below;
  const Bounds b = bootstrap_ratio(right, all, 1);
  EXPECT_NEAR(b.low, above / below - half, 0.2 * half);
  EXPECT_NEAR(b.high, above / below + half, 0.2 * half);
  const Bounds constant = bootstrap_ratio({2, 4.5, 2}, {4, 9, 4}, 1);
  EXPECT_EQ(constant.low, 0.5);
  EXPECT_EQ(constant.high, 0.5);
  EXPECT_TRUE(std::isnan(bootstrap_ratio({}, {}, 1).low));
}

TEST(PassAtK, EqualsTheCombinatorialFormula) {
  EXPECT_DOUBLE_EQ(pass_at_k(4, 0, 2), 0.0);
  EXPECT_DOUBLE_EQ(pass_at_k(4, 4, 2), 1.0);
  EXPECT_NEAR(pass_at_k(4, 1, 2), 1 - 3.0 / 6.0, 1e-15);      // 1 - C(3,2)/C(4,2)
  EXPECT_NEAR(pass_at_k(10, 3, 5), 1 - 21.0 / 252.0, 1e-15);  // 1 - C(7,5)/C(10,5)
}

}  // namespace
}  // namespace pan::eval
