// Against SciPy and statsmodels: tests/fixtures/experiment/make_statistics.py.
#include "experiment/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "support/support.h"

namespace pan::experiment {
namespace {

class Statistics : public ::testing::Test {
 protected:
  core::Json truth_ = core::read_json_file(testing::fixture("experiment/statistics.json"));
};

TEST_F(Statistics, StudentDistribution) {
  for (const core::Json& row : truth_["t"])
    EXPECT_NEAR(t_cdf(row[0], row[1]), row[2].get<double>(), 1e-12) << row;
  for (const core::Json& row : truth_["quantile"])
    EXPECT_NEAR(t_quantile(row[0], row[1]) / row[2].get<double>(), 1, 1e-10) << row;
  EXPECT_GE(truth_["t"].size(), 50u);
}

TEST_F(Statistics, NoncentralDistribution) {
  for (const core::Json& row : truth_["noncentral"])
    EXPECT_NEAR(noncentral_t_cdf(row[0], row[1], row[2]), row[3].get<double>(), 1e-8) << row;
}

TEST_F(Statistics, IntervalsEffectsAndExactSignFlips) {
  for (const core::Json& row : truth_["samples"]) {
    const auto x = row["x"].get<std::vector<double>>();
    const TInterval i = t_interval(x);
    EXPECT_NEAR(i.mean, row["mean"].get<double>(), 1e-14);
    EXPECT_NEAR(i.low, row["low"].get<double>(), 1e-10);
    EXPECT_NEAR(i.high, row["high"].get<double>(), 1e-10);
    EXPECT_NEAR(*effect_size(x), row["dz"].get<double>(), 1e-10);
    const SignFlip test = sign_flip_test(x);
    EXPECT_TRUE(test.exact);
    EXPECT_EQ(test.num_draws, int64_t{1} << x.size());
    EXPECT_NEAR(test.p, row["p"].get<double>(), 1e-12) << row;
  }
}

TEST_F(Statistics, HolmAndMcNemar) {
  for (const core::Json& row : truth_["holm"]) {
    const std::vector<double> adjusted = holm(row[0].get<std::vector<double>>());
    ASSERT_EQ(adjusted.size(), row[1].size());
    for (size_t i = 0; i < adjusted.size(); ++i) EXPECT_NEAR(adjusted[i], row[1][i].get<double>(), 1e-14);
  }
  for (const core::Json& row : truth_["mcnemar"])
    EXPECT_NEAR(mcnemar_exact(row[0], row[1]), row[2].get<double>(), 1e-11) << row;
}

TEST_F(Statistics, PowerAndNumberOfSeeds) {
  for (const core::Json& row : truth_["power"])
    EXPECT_NEAR(paired_t_power(row[0], row[1], row[2]), row[3].get<double>(), 1e-7) << row;
  for (const core::Json& row : truth_["needed"])
    EXPECT_EQ(seeds_needed(row[0], row[1]), row[2].get<int64_t>()) << row;
  EXPECT_EQ(seeds_needed(0.05, 0), 2);
  EXPECT_FALSE(seeds_needed(0.05, std::nan("")).has_value());
  EXPECT_FALSE(seeds_needed(1e-6, 1).has_value());
}

TEST_F(Statistics, HedgesFactor) {
  for (const core::Json& row : truth_["hedges"])
    EXPECT_NEAR(hedges_factor(row[0]).value(), row[1].get<double>(), 1e-9) << row;
  EXPECT_GE(truth_["hedges"].size(), 5u);
  EXPECT_FALSE(hedges_factor(2).has_value());
}

TEST(SignFlip, SmallestPossibleP) {
  for (size_t n = 1; n <= 12; ++n) {
    const SignFlip test = sign_flip_test(std::vector<double>(n, 0.1));
    EXPECT_DOUBLE_EQ(test.p, 2 / std::pow(2.0, static_cast<double>(n))) << n;
    EXPECT_DOUBLE_EQ(test.smallest_p, test.p);
  }
  EXPECT_EQ(sign_flip_test({0, 0, 0, 0, 0, 0}).p, 1);
  EXPECT_EQ(sign_flip_test({}).p, 1);
}

TEST(SignFlip, DrawsAtRandomAboveTwentySeeds) {
  std::vector<double> x;
  for (int i = 0; i < 18; ++i) x.push_back(i % 3 == 0 ? -0.4 : 0.3 + 0.01 * i);
  const SignFlip exact = sign_flip_test(x);
  // Zeros do not change the distribution of the sums.
  x.insert(x.end(), 4, 0.0);
  const SignFlip drawn = sign_flip_test(x);
  EXPECT_TRUE(exact.exact);
  EXPECT_FALSE(drawn.exact);
  EXPECT_EQ(drawn.num_draws, 200000);
  // Five standard deviations: fails once in two million seeds.
  EXPECT_NEAR(drawn.p, exact.p, 5 * std::sqrt(exact.p * (1 - exact.p) / 200000) + 1e-5);
  EXPECT_EQ(sign_flip_test(x).p, drawn.p);
}

TEST(SeedsToReach, KnowsHolm) {
  EXPECT_EQ(seeds_to_reach(1), 6);  // 2 / 2^6 = 0.031; five seeds reach 0.0625 only
  EXPECT_EQ(seeds_to_reach(6), 8);
  EXPECT_EQ(seeds_to_reach(7), 9);
  EXPECT_EQ(seeds_to_reach(13), 10);
}

}  // namespace
}  // namespace pan::experiment
