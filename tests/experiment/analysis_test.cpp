// What may be said about results, and what may not.
#include "experiment/analysis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "experiment/made_results.h"

namespace pan::experiment {
namespace {

using pan::testing::made_arm;
using ::testing::HasSubstr;
using ::testing::Not;
using Values = std::vector<std::optional<double>>;

const Values kBase = {0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47};

// `base` with `gain` added to each seed, a little more with the even ones so that there is a deviation.
Values plus(double gain) {
  Values values = kBase;
  for (size_t i = 0; i < values.size(); ++i) *values[i] += gain + (i % 2 ? 0.01 : 0);
  return values;
}

Analysis analysed(const std::vector<ArmResults>& arms) { return analyse({.arms = arms}, {}); }

TEST(Holm, CountsPlannedComparisonsThatHaveNotFinished) {
  Values none(8, std::nullopt);
  const Analysis half = analysed({made_arm("base", {}, kBase), made_arm("good", {"base"}, plus(0.1)),
                                  made_arm("b", {"base"}, none), made_arm("c", {"base"}, none)});
  EXPECT_EQ(half.num_tests, 3);
  EXPECT_EQ(half.num_missing, 16);
  EXPECT_DOUBLE_EQ(half.comparisons[0].test.p, 2.0 / 256);
  EXPECT_DOUBLE_EQ(half.comparisons[0].adjusted_p, 3 * 2.0 / 256);
  EXPECT_EQ(half.comparisons[1].adjusted_p, 1);
  // The same p when the others have finished and show nothing.
  const Analysis whole = analysed({made_arm("base", {}, kBase), made_arm("good", {"base"}, plus(0.1)),
                                   made_arm("b", {"base"}, kBase), made_arm("c", {"base"}, kBase)});
  EXPECT_DOUBLE_EQ(whole.comparisons[0].adjusted_p, half.comparisons[0].adjusted_p);
}

TEST(Holm, IsNotAppliedToWhatSeedsCannotChange) {
  ArmResults direct = made_arm("direct", {}, kBase), cot = made_arm("cot", {"direct"}, kBase);
  for (ArmResults* arm : {&direct, &cot}) arm->evaluate_only = arm->one_evaluation = true;
  const Analysis a = analysed({direct, cot, made_arm("trained", {"direct"}, plus(0.1))});
  EXPECT_EQ(a.num_tests, 1);
  EXPECT_FALSE(a.comparisons[0].has_test);
  EXPECT_THAT(a.comparisons[0].sentence, HasSubstr("Nothing is claimed"));
  EXPECT_THAT(a.comparisons[0].sentence, HasSubstr("no number of them would help"));
  EXPECT_TRUE(a.comparisons[1].significant);
}

TEST(Significance, IsRefusedWhileARunIsMissing) {
  Values most = plus(0.1);
  most.back() = std::nullopt;
  const Analysis a = analysed(
      {made_arm("base", {}, kBase), made_arm("good", {"base"}, plus(0.1)), made_arm("b", {"base"}, most)});
  EXPECT_EQ(a.num_missing, 1);
  for (const Comparison& c : a.comparisons) {
    EXPECT_FALSE(c.significant) << c.sentence;
    EXPECT_THAT(c.sentence, HasSubstr("Provisional"));
    EXPECT_THAT(c.sentence,
                HasSubstr("no significance is claimed while 1 result of the experiment is missing"));
    EXPECT_THAT(c.sentence, HasSubstr("seeds would be needed"));
  }
  EXPECT_THAT(a.comparisons[0].sentence, HasSubstr("over 8 of 8 seeds"));
  EXPECT_THAT(a.comparisons[1].sentence, HasSubstr("over 7 of 8 seeds"));
  EXPECT_THAT(a.comparisons[1].sentence, Not(HasSubstr("adjusted")));
  const Analysis whole = analysed({made_arm("base", {}, kBase), made_arm("good", {"base"}, plus(0.1)),
                                   made_arm("b", {"base"}, plus(0.1))});
  EXPECT_TRUE(whole.comparisons[0].significant);
}

TEST(Significance, IsRefusedWhereTheSeedsCannotReachIt) {
  const Values base(kBase.begin(), kBase.begin() + 5);
  const Values all = plus(0.1);
  const Analysis a = analysed(
      {made_arm("base", {}, base), made_arm("good", {"base"}, Values(all.begin(), all.begin() + 5))});
  const Comparison& c = a.comparisons[0];
  EXPECT_FALSE(c.can_reach);
  EXPECT_FALSE(c.significant);
  EXPECT_EQ(c.seeds_to_reach, 6);
  EXPECT_THAT(c.sentence, HasSubstr("No claim"));
  EXPECT_THAT(c.sentence, HasSubstr("at least 6 seeds"));
  EXPECT_THAT(c.sentence, HasSubstr("To see 5.0 points with probability 0.8, about 6 seeds"));
}

TEST(Sentence, SaysHowManySeedsWouldBeNeededWhateverTheResult) {
  const Analysis a = analysed({made_arm("base", {}, kBase), made_arm("good", {"base"}, plus(0.1)),
                               made_arm("same", {"base"}, plus(-0.005))});
  EXPECT_THAT(a.comparisons[0].sentence,
              HasSubstr("good has a higher eval/accuracy than base: +10.5 points"));
  EXPECT_THAT(a.comparisons[1].sentence, HasSubstr("No difference shown between same and base"));
  for (const Comparison& c : a.comparisons)
    EXPECT_THAT(c.sentence,
                HasSubstr("To see 5.0 points with probability 0.8, about 6 seeds would be needed for "
                          "this comparison alone, 7 for all 2."));
  const Analysis one = analysed({made_arm("base", {}, {0.5}), made_arm("good", {"base"}, {0.6})});
  EXPECT_THAT(one.comparisons[0].sentence, HasSubstr("cannot be said: that takes the spread of two seeds"));
  const Analysis none = analysed({made_arm("base", {}, {std::nullopt}), made_arm("good", {"base"}, {0.6})});
  EXPECT_THAT(none.comparisons[0].sentence, HasSubstr("no seed has finished in both"));
  EXPECT_THAT(none.comparisons[0].sentence, HasSubstr("cannot be said"));
}

TEST(Sentence, SaysThatMoreSeedsThanCanBeCountedWouldBeNeeded) {
  Values wild = kBase;
  for (size_t i = 0; i < wild.size(); ++i) *wild[i] = i % 2 ? 1e4 : -1e4;
  const Analysis a = analysed({made_arm("base", {}, kBase), made_arm("wild", {"base"}, wild)});
  EXPECT_THAT(a.comparisons[0].sentence, HasSubstr("about more than 100000 seeds"));
}

TEST(Comparisons, OneArmMayHaveSeveral) {
  const Analysis a = analysed({made_arm("base", {}, kBase), made_arm("contrast", {"base"}, plus(0.02)),
                               made_arm("level", {"base", "contrast"}, plus(0.05))});
  ASSERT_EQ(a.comparisons.size(), 3u);
  EXPECT_EQ(a.num_tests, 3);
  EXPECT_EQ(a.comparisons[2].arm, "level");
  EXPECT_EQ(a.comparisons[2].against, "contrast");
  EXPECT_NEAR(a.comparisons[2].interval.mean, 0.03, 1e-12);
}

TEST(McNemar, PairsItemsByName) {
  ArmResults base = made_arm("base", {}, {0.5, 0.5}), arm = made_arm("arm", {"base"}, {0.75, 0.75});
  base.cells[1].right = {{"a", true}, {"b", false}, {"c", false}, {"d", true}};
  arm.cells[1].right = {{"d", false}, {"c", true}, {"b", true}, {"a", true}};
  base.cells[2].right = arm.cells[2].right = base.cells[1].right;
  Analysis a = analysed({base, arm});
  ASSERT_EQ(a.comparisons[0].items.size(), 2u);
  const ItemTest& t = a.comparisons[0].items[0];
  EXPECT_EQ(t.num_items, 4);
  EXPECT_EQ(t.only_arm, 2);
  EXPECT_EQ(t.only_against, 1);
  EXPECT_EQ(t.p, 1);
  EXPECT_EQ(a.comparisons[0].items[1].only_arm, 0);
  // Other items: nothing is paired, nothing is said.
  arm.cells[2].right = {{"a", true}, {"b", false}, {"c", false}, {"e", true}};
  EXPECT_TRUE(analysed({base, arm}).comparisons[0].items.empty());
}

}  // namespace
}  // namespace pan::experiment
