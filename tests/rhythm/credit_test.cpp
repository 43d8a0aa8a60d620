#include "rhythm/credit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace pan::rhythm {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

RhythmConfig with(Credit credit, double q = 0.4) {
  RhythmConfig c;
  c.credit = credit;
  c.credit_q = q;
  return c;
}

TEST(Credit, NoneLeavesEveryTokenAlone) {
  const auto r = shape_credit({.prompt_length = 2, .num_tokens = 5}, with(Credit::kNone));
  EXPECT_EQ(r.gamma, (std::vector<double>{1, 1, 1}));
}

TEST(Credit, AnEmptyResponseHasNoMultipliers) {
  for (const Credit c :
       {Credit::kRandom, Credit::kEntropy, Credit::kLocalChunk, Credit::kGlobalAnchor, Credit::kCoupled}) {
    const std::vector<double> x(3, kMissing);
    const auto r =
        shape_credit({.prompt_length = 3, .num_tokens = 3, .waad = x, .fai = x, .token_entropy = x}, with(c));
    EXPECT_TRUE(r.gamma.empty() && r.selected.empty());
  }
}

TEST(Credit, JumpsNeedTwoResponseTokens) {
  const auto jumps = waad_jumps({9, 9, 1, 4, 2}, 2);
  EXPECT_TRUE(std::isnan(jumps[1]));  // from the prompt
  EXPECT_EQ(jumps[2], 3);
  EXPECT_EQ(jumps[3], 2);
  EXPECT_TRUE(std::isnan(jumps[4]));
  const auto r =
      shape_credit({.prompt_length = 2, .num_tokens = 3, .waad = {9, 9, 1}}, with(Credit::kLocalChunk));
  EXPECT_EQ(r.gamma, (std::vector<double>{1}));
}

TEST(Credit, RandomDependsOnlyOnSeedAndSample) {
  const CreditInput input{.prompt_length = 10, .num_tokens = 110, .seed = 5, .sample_id = 9};
  const auto a = shape_credit(input, with(Credit::kRandom)), b = shape_credit(input, with(Credit::kRandom));
  EXPECT_EQ(a.selected, b.selected);
  EXPECT_EQ(a.selected.size(), 40u);
  EXPECT_EQ(std::count(a.gamma.begin(), a.gamma.end(), 1.5), 40);
  CreditInput other = input;
  other.sample_id = 10;
  EXPECT_NE(shape_credit(other, with(Credit::kRandom)).selected, a.selected);
  other = input;
  other.seed = 6;
  EXPECT_NE(shape_credit(other, with(Credit::kRandom)).selected, a.selected);
}

TEST(Credit, RandomIsEvenOverPositions) {
  std::vector<int> counts(20);
  const int n = 5000;
  for (int i = 0; i < n; ++i) {
    const auto r =
        shape_credit({.prompt_length = 0, .num_tokens = 20, .seed = 1, .sample_id = static_cast<uint64_t>(i)},
                     with(Credit::kRandom, 0.25));
    for (const int64_t t : r.selected) ++counts[static_cast<size_t>(t)];
  }
  // Binomial(5000, 1/4): six standard deviations are 184; 20 positions fail by chance once in 2.5e7 runs.
  for (const int c : counts) EXPECT_NEAR(c, n / 4, 184);
}

TEST(Credit, BottomTakesTheSmallest) {
  RhythmConfig c = with(Credit::kEntropy, 0.5);
  const CreditInput input{.prompt_length = 1, .num_tokens = 5, .token_entropy = {kMissing, 3, 1, 2, 1}};
  EXPECT_EQ(shape_credit(input, c).gamma, (std::vector<double>{1.5, 1, 1.5, 1}));
  c.credit_select = CreditSelect::kBottom;
  EXPECT_EQ(shape_credit(input, c).gamma, (std::vector<double>{1, 1.5, 1, 1.5}));
}

// Worked by hand: P = 0, N = 10, q = 0.3.
TEST(Credit, CoupledMovesPartOfADominatedAnchorsBonusToItsIntroducer) {
  //                               0  1  2  3  4  5  6  7  8  9
  const std::vector<double> waad{5, 5, 9, 1, 1, 6, 6, 2, 2, 6};
  // Delta:                      0  4  8  0  5  0  4  0  4; TopQ takes ceil(2.7) = 3: 2 (8), 4 (5), 1 (4, the
  // earliest). tau_Delta = 4. Lower median of WAAD (1 1 2 2 5 | 5 6 6 6 9) is 5.
  const std::vector<double> fai{0, 0, 0, 0, 7, 8, 0, 9, 0, kMissing};
  // TopQ takes ceil(2.7) = 3: 4, 5, 7. WAAD[5] = 6 > 5: not dominated. t = 4: window {1, 2, 3}, largest 2. t
  // = 7: {4, 5, 6}, largest 4 (5).
  const auto r = shape_credit({.prompt_length = 0, .num_tokens = 10, .waad = waad, .fai = fai},
                              with(Credit::kCoupled, 0.3));
  EXPECT_EQ(r.selected, (std::vector<int64_t>{4, 5, 7}));
  EXPECT_EQ(r.local, (std::vector<int64_t>{1, 2, 4}));
  EXPECT_EQ(r.dominated, (std::vector<int64_t>{4, 7}));
  EXPECT_EQ(r.introduced, (std::vector<int64_t>{2, 4}));
  const std::vector<double> expected{1,   1, 1.25, 1, 1.5,
                                     1.5, 1, 1.25, 1, 1};  // 4 is dominated and introduces
  for (size_t t = 0; t < 10; ++t) EXPECT_DOUBLE_EQ(r.gamma[t], expected[t]) << t;
}

TEST(Credit, AnIntroducerOfTwoAnchorsIsPaidOnceAndTiesGoToTheLater) {
  const std::vector<double> waad{1, 6, 1, 1, 1, 1, 1, 1};  // Delta: 5 5 0 0 0 0 0
  const std::vector<double> fai{0, 0, 9, 9, 0, 0, 0, 0};
  const auto r = shape_credit({.prompt_length = 0, .num_tokens = 8, .waad = waad, .fai = fai},
                              with(Credit::kCoupled, 0.25));
  EXPECT_EQ(r.dominated, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(r.introduced, (std::vector<int64_t>{1}));
  EXPECT_DOUBLE_EQ(r.gamma[1], 1.25);
  EXPECT_DOUBLE_EQ(r.gamma[0], 1);
}

TEST(Credit, SeriesOfAnotherLengthAreRefused) {
  EXPECT_THROW(shape_credit({.prompt_length = 0, .num_tokens = 3, .waad = {1, 2}}, with(Credit::kLocalChunk)),
               core::Error);
  EXPECT_THROW(shape_credit({.prompt_length = 4, .num_tokens = 3}, with(Credit::kRandom)), core::Error);
}

}  // namespace
}  // namespace pan::rhythm
