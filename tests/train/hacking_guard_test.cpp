#include "train/hacking_guard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/support.h"

namespace pan::train {
namespace {

TEST(Trend, IsThatOfNumpy) {  // tests/fixtures/train/make_trends.py
  const core::Json all =
      core::Json::parse(pan::testing::read_text(pan::testing::fixture("train/trends.json")));
  const core::Json& cases = all.at("cases");
  ASSERT_EQ(cases.size(), 20u);
  for (const core::Json& c : cases) {
    const Trend trend = trend_of(c.at("y").get<std::vector<double>>());
    EXPECT_NEAR(trend.slope, c.at("slope").get<double>(), 1e-11);
    EXPECT_NEAR(trend.t, c.at("t").get<double>(), 1e-8 * (1 + std::abs(trend.t)));
  }
}

TEST(Trend, OfALineOrAConstantIsFinite) {
  EXPECT_GT(trend_of({1, 2, 3, 4}).t, 1e5);
  EXPECT_LT(trend_of({4, 3, 2, 1}).t, -1e5);
  EXPECT_EQ(trend_of({0.3, 0.3, 0.3, 0.3, 0.3}).t, 0);
  EXPECT_THROW(trend_of({1, 2}), core::Error);
}

// Rhythm and accuracy as lines with a fixed scatter around them.
GuardPoint point(int i, double rhythm_slope, double accuracy_slope) {
  const double scatter = i % 2 == 0 ? 0.01 : -0.01;
  return {.entropy = 0.1 + rhythm_slope * i + scatter,
          .concentration = 0.2 + rhythm_slope * i - scatter,
          .accuracy = 0.5 + accuracy_slope * i + scatter};
}

int warnings(double rhythm_slope, double accuracy_slope, double lambda, int iterations = 30) {
  rhythm::RhythmConfig config;
  config.guard_window = 10;
  config.lambda = lambda;
  GuardState state;
  int warned = 0;
  for (int i = 0; i < iterations; ++i) {
    const auto report = guard_rhythm(config, point(i, rhythm_slope, accuracy_slope), 0.3, 0.2, state);
    warned += report && report->warned;
  }
  EXPECT_EQ(warned, state.warnings);
  return warned;
}

TEST(HackingGuard, WarnsOnceAWindowWhenRhythmRisesAndAccuracyFalls) {
  EXPECT_EQ(warnings(0.02, -0.02, 0.1), 3);
  EXPECT_EQ(warnings(0.02, -0.02, 0.1, 9), 0);
  EXPECT_EQ(warnings(0.02, -0.02, 0.1, 19), 1);
}

TEST(HackingGuard, IsSilentOtherwise) {
  EXPECT_EQ(warnings(0.02, 0.02, 0.1), 0);
  EXPECT_EQ(warnings(-0.02, -0.02, 0.1), 0);
  EXPECT_EQ(warnings(0, -0.02, 0.1), 0);
  EXPECT_EQ(warnings(0.02, 0, 0.1), 0);
  EXPECT_EQ(warnings(0.02, -0.02, 0), 0);  // nothing is paid for rhythm
}

TEST(HackingGuard, WhatIsNotANumberIsNoPoint) {
  rhythm::RhythmConfig config;
  GuardState state;
  EXPECT_FALSE(
      guard_rhythm(config, {.entropy = std::nan(""), .concentration = 0, .accuracy = 0}, 1, 1, state));
  EXPECT_TRUE(state.window.empty());
  config.guard_window = 0;
  EXPECT_FALSE(guard_rhythm(config, {}, 1, 1, state));
  EXPECT_TRUE(state.window.empty());
}

TEST(HackingGuard, StateSurvivesJsonToTheLastBit) {
  GuardState state{.window = {{1.0 / 3, 1e-17, 0.7}, {2, 3, 4}}, .warnings = 5};
  const GuardState back =
      GuardState::from_json(core::parse_json(core::dump_json(state.to_json()), "state"), "state");
  ASSERT_EQ(back.window.size(), 2u);
  EXPECT_EQ(back.window[0].entropy, 1.0 / 3);
  EXPECT_EQ(back.window[0].concentration, 1e-17);
  EXPECT_EQ(back.window[1].accuracy, 4);
  EXPECT_EQ(back.warnings, 5);
  EXPECT_THROW(
      GuardState::from_json(core::parse_json(R"({"warnings": 0, "window": [[1]]})", "state"), "state"),
      core::Error);
}

}  // namespace
}  // namespace pan::train
