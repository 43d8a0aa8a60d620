// Reward hacking on made-up curves.
#include "experiment/guards.h"

#include <gtest/gtest.h>

#include <cmath>

#include "experiment/made_results.h"

namespace pan::experiment {
namespace {

using pan::testing::made_arm;
using pan::testing::made_curve;

// A line of ten iterations with an alternating error.
std::vector<double> line(double from, double slope, double error) {
  std::vector<double> y;
  for (int i = 0; i < 10; ++i) y.push_back(from + slope * i + (i % 2 ? error : -error));
  return y;
}

CellResult run_with(double entropy_slope, double concentration_slope, double accuracy_slope) {
  CellResult cell;
  cell.curves["rhythm/entropy_term/mean"] = made_curve(line(0.1, entropy_slope, 0.001));
  cell.curves["rhythm/concentration_term/mean"] = made_curve(line(0.2, concentration_slope, 0.001));
  cell.curves["rhythm/sigma/entropy"] = made_curve(std::vector<double>(10, 0.05));
  cell.curves["rhythm/sigma/concentration"] = made_curve(std::vector<double>(10, 0.1));
  cell.curves["rhythm/reward/mean"] = made_curve(std::vector<double>(10, 0.0));  // centred: tells nothing
  cell.curves["reward/accuracy"] = made_curve(line(0.6, accuracy_slope, 0.002));
  return cell;
}

ArmResults arm_of(const std::vector<CellResult>& runs, double lambda = 0.1) {
  ArmResults arm = made_arm("arm", {}, {});
  arm.rhythm.lambda = lambda;
  for (size_t i = 0; i < runs.size(); ++i) arm.cells[static_cast<int64_t>(i + 1)] = runs[i];
  return arm;
}

TEST(Guards, WarnWhereTermsRiseWhileAccuracyFalls) {
  const Guard g = *guard_of(arm_of({run_with(0.01, 0.01, -0.01), run_with(0.01, 0.01, -0.01)}));
  EXPECT_TRUE(g.warning);
  EXPECT_EQ(g.num_risen, 2);
  EXPECT_EQ(g.num_trends, 2);
  EXPECT_GT(*g.rhythm_t, 2);
  EXPECT_LT(*g.accuracy_t, -2);
}

TEST(Guards, AreQuietOtherwise) {
  for (const CellResult& run :
       {run_with(0.01, 0.01, 0.01), run_with(-0.01, -0.01, -0.01), run_with(0, 0, 0)}) {
    const Guard g = *guard_of(arm_of({run}));
    EXPECT_FALSE(g.warning) << *g.rhythm_t << " " << *g.accuracy_t;
    EXPECT_EQ(g.num_risen, 0);
  }
}

TEST(Guards, WeighTheTermsByTheirDeviations) {
  // Per deviation, entropy rises by 0.2 an iteration and concentration falls by 0.1.
  EXPECT_TRUE(guard_of(arm_of({run_with(0.01, -0.01, -0.01)}))->warning);
  ArmResults arm = arm_of({run_with(0.01, -0.01, -0.01)});
  arm.rhythm.w_pre = 0.1;
  EXPECT_FALSE(guard_of(arm)->warning);
}

TEST(Guards, SkipArmsThatPayNothing) {
  const Guard g = *guard_of(arm_of({run_with(0.01, 0.01, -0.01)}, 0));
  EXPECT_FALSE(g.is_paid);
  EXPECT_FALSE(g.warning);
  EXPECT_FALSE(g.rhythm_t.has_value());
  ArmResults off = arm_of({run_with(0.01, 0.01, -0.01)});
  off.rhythm.enabled = false;
  EXPECT_FALSE(guard_of(off)->warning);
  ArmResults untrained = arm_of({run_with(0.01, 0.01, -0.01)});
  untrained.evaluate_only = true;
  EXPECT_FALSE(guard_of(untrained).has_value());
}

TEST(Guards, ReadTheWarningsOfTheRunsThemselves) {
  CellResult warned = run_with(0, 0, 0), quiet = warned;
  warned.curves["rhythm/guard/warnings"] = made_curve({0, 0, 1, 1});
  quiet.curves["rhythm/guard/warnings"] = made_curve({0, 0, 0, 0});
  const Guard g = *guard_of(arm_of({warned, quiet}));
  EXPECT_EQ(g.num_warned, 1);
  EXPECT_EQ(g.num_risen, 0);
  EXPECT_TRUE(g.warning);
  EXPECT_FALSE(guard_of(arm_of({quiet}))->warning);
}

TEST(Guards, LookAtAllSampledAnswersWhereThatIsLogged) {
  CellResult run = run_with(0.01, 0.01, 0.01);
  run.curves["sampling/accuracy"] = made_curve(line(0.6, -0.01, 0.002));
  EXPECT_TRUE(guard_of(arm_of({run}))->warning);
}

TEST(Guards, SayNothingOfShortRuns) {
  CellResult run = run_with(0.01, 0.01, -0.01);
  for (auto& [key, curve] : run.curves) curve.resize(4);
  const Guard g = *guard_of(arm_of({run}));
  EXPECT_EQ(g.num_trends, 0);
  EXPECT_FALSE(g.rhythm_t.has_value());
  EXPECT_FALSE(g.warning);
}

TEST(Guards, ListEveryTermByRightAndWrong) {
  CellResult a = run_with(0, 0, 0), b = a;
  a.curves["rhythm/entropy_term/right"] = made_curve({9, 9, 9, 9, 9, 9, 1, 3});  // last quarter: 1, 3
  b.curves["rhythm/entropy_term/right"] = made_curve({9, 9, 9, 9, 9, 9, 3, 5});
  a.curves["rhythm/entropy_term/wrong"] = made_curve({0.5});
  a.curves["reward/cell/wrong"] = made_curve({0.25});
  const Guard g = *guard_of(arm_of({a, b}));
  ASSERT_EQ(g.terms.size(), 2u);
  EXPECT_EQ(g.terms[0].term, "reward/cell");
  EXPECT_FALSE(g.terms[0].right.has_value());
  EXPECT_EQ(*g.terms[0].wrong, 0.25);
  EXPECT_EQ(g.terms[1].term, "rhythm/entropy_term");
  EXPECT_EQ(*g.terms[1].right, 3);
  EXPECT_EQ(*g.terms[1].wrong, 0.5);
}

}  // namespace
}  // namespace pan::experiment
