#include "rhythm/reward.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace pan::rhythm {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// Steps of ten tokens after a prompt of five, with the given E and C in contrast form.
SequenceRhythm sequence(const std::vector<std::pair<double, double>>& terms) {
  SequenceRhythm s;
  s.prompt_length = 5;
  int64_t begin = 5;
  for (const auto& [e, c] : terms) {
    StepRhythm step;
    step.step = {.begin = begin, .end = begin + 9, .preplan_end = begin + 2};
    step.preplan_entropy = {e, 0};
    step.anchor_concentration = {std::isnan(c) ? kMissing : 0, c};
    s.steps.push_back(step);
    begin += 10;
  }
  s.num_tokens = begin;
  s.waad.assign(static_cast<size_t>(begin), 1.0);
  s.fai = s.norm_entropy = s.waad;
  s.repeated_8grams = 0.25;
  return s;
}

std::vector<SequenceRhythm> batch_of_twelve() {
  return {sequence({{0.1, 0.5}, {0.2, 0.4}, {0.3, 0.1}, {0.7, 0.2}}), sequence({{0.15, 0.55}, {0.25, 0.45}}),
          sequence({{0.4, 0.3}, {0.5, 0.35}, {0.6, 0.15}, {0.45, 0.05}, {0.05, 0.6}, {0.33, 0.33}})};
}

const std::vector<Outcome> kOutcomes{{.correct = true}, {.truncated = true}, {}};

double metric(const RewardSums& sums, const std::string& name) {
  for (const auto& [key, value] : metrics_of(sums))
    if (key == name) return value;
  throw std::runtime_error("no metric " + name);
}

TEST(Reward, DisabledMeasuresNothingAndKeepsTheMoments) {
  RhythmConfig config;
  config.enabled = false;
  RhythmMoments moments;
  moments.entropy = {.weight = 3, .mean = 2, .squares = 1};
  const RewardResult r = reward_batch(batch_of_twelve(), kOutcomes, config, moments);
  ASSERT_EQ(r.sequences.size(), 3u);
  for (const auto& s : r.sequences) EXPECT_TRUE(s.steps.empty() && s.payments.empty());
  EXPECT_EQ(moments.entropy.weight, 3);
  EXPECT_EQ(r.sums.num_steps, 0);
}

TEST(Reward, LambdaZeroScoresAndPaysNothing) {
  RhythmConfig config;
  config.lambda = 0;
  RhythmMoments moments;
  const RewardResult r = reward_batch(batch_of_twelve(), kOutcomes, config, moments);
  EXPECT_EQ(moments.entropy.weight, 12);
  double largest = 0;
  for (const auto& s : r.sequences) {
    EXPECT_TRUE(s.payments.empty());
    EXPECT_EQ(s.total, 0);
    for (const auto& step : s.steps) largest = std::max(largest, std::abs(step.reward));
  }
  EXPECT_GT(largest, 0.5);
}

TEST(Reward, ABatchSumsToZeroWithoutClippingAndRepetition) {
  RhythmConfig config;
  config.cap.reset();
  RhythmMoments moments;
  const RewardResult r = reward_batch(batch_of_twelve(), {{}, {}, {}}, config, moments);
  double sum = 0, size = 0;
  for (const auto& s : r.sequences) {
    sum += s.total;
    size += std::abs(s.total);
  }
  EXPECT_NEAR(sum, 0, 1e-12);
  EXPECT_GT(size, 0.01);
}

TEST(Reward, FewerThanEightValuesGiveNoRewardButTeachTheMoments) {
  RhythmMoments moments;
  auto few = batch_of_twelve();
  few.pop_back();  // six steps
  const RewardResult r = reward_batch(few, {{}, {}}, {}, moments);
  for (const auto& s : r.sequences)
    for (const auto& step : s.steps) EXPECT_EQ(step.reward, 0);
  EXPECT_EQ(moments.concentration.weight, 6);
}

TEST(Reward, WhatIsMissingIsZeroAndAbsentFromTheMoments) {
  auto batch = batch_of_twelve();
  batch[2].steps[0].anchor_concentration = {kMissing, kMissing};    // no anchors
  batch[2].steps[1].step.preplan_end = batch[2].steps[1].step.end;  // no anchor phase
  RhythmMoments moments;
  const RewardResult r = reward_batch(batch, kOutcomes, {}, moments);
  EXPECT_EQ(moments.entropy.weight, 11);
  EXPECT_EQ(moments.concentration.weight, 10);
  EXPECT_EQ(r.sequences[2].steps[0].z_concentration, 0);
  EXPECT_NE(r.sequences[2].steps[0].z_entropy, 0);
  EXPECT_EQ(r.sequences[2].steps[1].reward, 0);
}

TEST(Reward, TheSumNeverLeavesTheCapAndLaterStepsCanStillPay) {
  RhythmConfig config;
  config.lambda = 0.3;
  SequenceReward r;
  r.steps = {{0, 0, 2.0}, {0, 0, 2.0}, {0, 0, -1.0}, {0, 0, -9.0}};
  const SequenceRhythm s = sequence({{0, 0}, {0, 0}, {0, 0}, {0, 0}});
  pay(s, false, config, r);
  const std::vector<double> expected{0.45, 0, -0.3, -0.6};
  ASSERT_EQ(r.payments.size(), 4u);
  for (size_t j = 0; j < 4; ++j) {
    EXPECT_NEAR(r.payments[j].amount, expected[j], 1e-15);
    EXPECT_EQ(r.payments[j].position, s.steps[j].step.end);
    EXPECT_NEAR(r.steps[j].paid, expected[j], 1e-15);
  }
  EXPECT_NEAR(r.total, -0.45, 1e-15);
  EXPECT_TRUE(r.capped);
  config.cap.reset();
  pay(s, false, config, r);
  EXPECT_NEAR(r.total, -1.8, 1e-15);
  EXPECT_FALSE(r.capped);
}

TEST(Reward, ATruncatedAnswerKeepsNoGainButItsLoss) {
  SequenceReward r;
  const SequenceRhythm s = sequence({{0, 0}, {0, 0}});
  r.steps = {{0, 0, 1.0}, {0, 0, 0.5}};
  pay(s, true, {}, r);
  ASSERT_EQ(r.payments.size(), 3u);
  EXPECT_EQ(r.payments[2].position, s.num_tokens - 1);
  EXPECT_NEAR(r.payments[2].amount, -0.15, 1e-15);
  EXPECT_EQ(r.total, 0);
  r.steps = {{0, 0, 1.0}, {0, 0, -1.5}};
  pay(s, true, {}, r);
  EXPECT_EQ(r.payments.size(), 2u);
  EXPECT_NEAR(r.total, -0.05, 1e-15);
}

TEST(Reward, LevelPaysItsSharesWhereEachPhaseEnds) {
  RhythmConfig config;
  config.form = Form::kLevel;
  SequenceReward r;
  r.steps = {{2.0, -1.0, 0.5}};
  const SequenceRhythm s = sequence({{0, 0}});
  pay(s, false, config, r);
  ASSERT_EQ(r.payments.size(), 2u);
  EXPECT_EQ(r.payments[0].position, s.steps[0].step.preplan_end);
  EXPECT_NEAR(r.payments[0].amount, 0.1, 1e-15);
  EXPECT_EQ(r.payments[1].position, s.steps[0].step.end);
  EXPECT_NEAR(r.payments[1].amount, -0.05, 1e-15);
  EXPECT_NEAR(r.steps[0].paid, 0.05, 1e-15);
}

TEST(Reward, LevelPaysSharesThatCancelButNotThoseOfARepetition) {
  RhythmConfig config;
  config.form = Form::kLevel;
  SequenceRhythm s = sequence({{0, 0}});
  SequenceReward r;
  r.steps = {{3.0, -3.0, 0.0}};
  pay(s, false, config, r);
  EXPECT_NEAR(r.payments[0].amount, 0.15, 1e-15);
  s.steps[0].repeated = true;
  r.steps = {{3.0, -1.0, 0.0}};  // the rule made the step's reward 0
  pay(s, false, config, r);
  EXPECT_EQ(r.payments[0].amount, 0);
  EXPECT_EQ(r.payments[1].amount, 0);
  r.steps = {{1.0, -3.0, -1.0}};
  pay(s, false, config, r);
  EXPECT_NEAR(r.total, -0.1, 1e-15);
}

// Answers whose steps' rewards say where they came from: answer i has lengths[i] steps.
std::vector<SequenceReward> numbered(const std::vector<int>& lengths) {
  std::vector<SequenceReward> out(lengths.size());
  double next = 0;
  for (size_t i = 0; i < lengths.size(); ++i)
    for (int k = 0; k < lengths[i]; ++k, ++next)
      out[i].steps.push_back({.z_entropy = next + 0.25, .z_concentration = next + 0.5, .reward = next});
  return out;
}

std::vector<double> rewards_of(const std::vector<SequenceReward>& sequences) {
  std::vector<double> out;
  for (const auto& s : sequences)
    for (const auto& step : s.steps) out.push_back(step.reward);
  return out;
}

TEST(ShuffledControl, PermutesAllStepsOfTheIterationAsAWhole) {
  auto sequences = numbered({5, 0, 1, 14, 20});
  const auto before = rewards_of(sequences);
  shuffle_rewards({.seed = 7, .iteration = 3}, sequences);
  auto after = rewards_of(sequences);
  EXPECT_EQ(sequences[3].steps.size(), 14u);
  EXPECT_NE(after, before);
  for (const auto& s : sequences)
    for (const auto& step : s.steps) {
      EXPECT_EQ(step.z_entropy, step.reward + 0.25);
      EXPECT_EQ(step.z_concentration, step.reward + 0.5);
    }
  EXPECT_TRUE(
      std::any_of(after.begin(), after.begin() + 5, [](double x) { return x >= 5; }));  // across answers
  std::sort(after.begin(), after.end());
  EXPECT_EQ(after, before);
}

TEST(ShuffledControl, DependsOnSeedIterationAndRankAlone) {
  const auto draw = [](const ShuffleKey& key) {
    auto sequences = numbered({10, 30});
    shuffle_rewards(key, sequences);
    return rewards_of(sequences);
  };
  const ShuffleKey key{.seed = 1, .iteration = 2, .rank = 0};
  EXPECT_EQ(draw(key), draw(key));
  EXPECT_NE(draw(key), draw({.seed = 2, .iteration = 2, .rank = 0}));
  EXPECT_NE(draw(key), draw({.seed = 1, .iteration = 3, .rank = 0}));
  EXPECT_NE(draw(key), draw({.seed = 1, .iteration = 2, .rank = 1}));
}

TEST(ShuffledControl, EveryCycleIsAsLikelyAndNoStepKeepsItsOwn) {
  // 6 cycles through 4 steps, 1200 iterations: chi squared with 5 degrees of freedom is above 27.3 once in
  // 20000 (p = 5e-5); keys are fixed, so this passes always or never.
  std::map<std::vector<double>, int> counts;
  for (uint64_t i = 0; i < 1200; ++i) {
    auto sequences = numbered({3, 1});
    shuffle_rewards({.seed = 11, .iteration = i}, sequences);
    const auto got = rewards_of(sequences);
    ++counts[got];
    for (size_t k = 0; k < got.size(); ++k) EXPECT_NE(got[k], static_cast<double>(k));
  }
  ASSERT_EQ(counts.size(), 6u);
  double chi_squared = 0;
  for (const auto& [order, n] : counts) chi_squared += (n - 200.0) * (n - 200.0) / 200.0;
  EXPECT_LT(chi_squared, 27.3);
}

TEST(ShuffledControl, NothingToShuffleIsLeftAlone) {
  auto none = numbered({0, 0}), one = numbered({0, 1});
  shuffle_rewards({}, none);
  shuffle_rewards({}, one);
  EXPECT_TRUE(rewards_of(none).empty());
  EXPECT_EQ(rewards_of(one), std::vector<double>{0});
}

TEST(ShuffledControl, PaysTheSameRewardsToOtherStepsAndMeasuresTheSame) {
  RhythmConfig plain, shuffled;
  plain.cap.reset();
  shuffled.cap.reset();
  shuffled.control = Control::kShuffled;
  RhythmMoments a, b;
  const RewardResult x = reward_batch(batch_of_twelve(), {{}, {}, {}}, plain, a);
  const RewardResult y = reward_batch(batch_of_twelve(), {{}, {}, {}}, shuffled, b, nullptr, {.seed = 5});
  EXPECT_EQ(a.entropy.squares, b.entropy.squares);
  const auto amounts = [](const RewardResult& r) {
    std::vector<double> out;  // running sums leave rounding behind
    for (const auto& s : r.sequences)
      for (const auto& p : s.payments) out.push_back(std::round(1e12 * p.amount));
    return out;
  };
  auto paid = amounts(x), other = amounts(y);
  EXPECT_NE(paid, other);
  std::sort(paid.begin(), paid.end());
  std::sort(other.begin(), other.end());
  EXPECT_EQ(paid, other);
  EXPECT_EQ(metric(x.sums, "rhythm/z_entropy/clip_share"), metric(y.sums, "rhythm/z_entropy/clip_share"));
  EXPECT_EQ(metric(x.sums, "rhythm/entropy_term/mean"), metric(y.sums, "rhythm/entropy_term/mean"));
  double first = 0;
  for (const auto& step : y.sequences[1].steps) first += step.reward;
  EXPECT_NEAR(y.sequences[1].total, plain.lambda * first, 1e-12);
}

TEST(ShuffledControl, LevelForfeitsThePaymentsOfARepeatedStepWhereverTheyGo) {
  RhythmConfig config;
  config.form = Form::kLevel;
  config.control = Control::kShuffled;
  auto batch = batch_of_twelve();
  for (auto& s : batch)
    for (auto& step : s.steps) step.repeated = true;
  batch[0].steps[0].repeated = false;  // the only one that may earn
  RhythmMoments moments;
  const RewardResult r = reward_batch(batch, {{}, {}, {}}, config, moments, nullptr, {.seed = 5});
  int earning = 0;
  for (const auto& s : r.sequences)
    for (const auto& step : s.steps) earning += step.reward > 0;
  EXPECT_LE(earning, 1);
  for (const auto& s : r.sequences) {
    ASSERT_EQ(s.payments.size(), 2 * s.steps.size());
    for (size_t k = 0; k < s.steps.size(); ++k)
      EXPECT_NEAR(s.payments[2 * k].amount + s.payments[2 * k + 1].amount, config.lambda * s.steps[k].reward,
                  1e-12);
  }
}

TEST(Reward, ARepeatedStepCanOnlyLose) {
  auto batch = batch_of_twelve();
  RhythmMoments once, twice;
  const RewardResult free = reward_batch(batch, kOutcomes, {}, once);
  for (auto& s : batch)
    for (auto& step : s.steps) step.repeated = true;
  const RewardResult held = reward_batch(batch, kOutcomes, {}, twice);
  for (size_t i = 0; i < 3; ++i)
    for (size_t k = 0; k < held.sequences[i].steps.size(); ++k)
      EXPECT_EQ(held.sequences[i].steps[k].reward, std::min(0.0, free.sequences[i].steps[k].reward));
}

TEST(Reward, RanksThatShareTheirValuesScoreAsOne) {
  const auto all = batch_of_twelve();
  RhythmMoments whole, first, second;
  const RewardResult together = reward_batch(all, kOutcomes, {}, whole);
  const std::vector<SequenceRhythm> a{all[0], all[1]}, b{all[2]};
  // The first two lists of values come from this rank's E and C; the other rank's are known here.
  const auto values = [](const std::vector<SequenceRhythm>& part, bool entropy) {
    std::vector<double> out;
    for (const auto& s : part)
      for (const auto& step : s.steps)
        out.push_back(entropy ? entropy_term(step, Form::kContrast)
                              : concentration_term(step, Form::kContrast));
    return out;
  };
  const auto gather = [&](bool own_first, const std::vector<SequenceRhythm>& other) {
    return [&, own_first, calls = 0](const std::vector<double>& own) mutable {
      const std::vector<double> rest = values(other, calls++ == 0);
      std::vector<double> out = own_first ? own : rest;
      out.insert(out.end(), (own_first ? rest : own).begin(), (own_first ? rest : own).end());
      return out;
    };
  };
  const RewardResult one = reward_batch(a, {kOutcomes[0], kOutcomes[1]}, {}, first, gather(true, b));
  const RewardResult two = reward_batch(b, {kOutcomes[2]}, {}, second, gather(false, a));
  EXPECT_EQ(first.entropy.squares, whole.entropy.squares);
  EXPECT_EQ(second.concentration.mean, whole.concentration.mean);
  EXPECT_EQ(one.sequences[1].total, together.sequences[1].total);
  EXPECT_EQ(two.sequences[0].total, together.sequences[2].total);
  RewardSums sums = one.sums;
  sums += RewardSums::unpack(two.sums.pack());
  const auto merged = metrics_of(sums), expected = metrics_of(together.sums);
  for (size_t i = 0; i < merged.size(); ++i)
    EXPECT_TRUE(std::abs(merged[i].second - expected[i].second) < 1e-12 ||
                (std::isnan(merged[i].second) && std::isnan(expected[i].second)))
        << merged[i].first;
}

TEST(Reward, MetricsAreTheFiguresOfTheBatch) {
  RhythmMoments moments;
  const RewardResult r = reward_batch(batch_of_twelve(), kOutcomes, {}, moments);
  std::vector<double> x, k{4, 2, 6};
  for (const auto& s : r.sequences) {
    x.push_back(0);
    for (const auto& step : s.steps) x.back() += step.reward;
  }
  EXPECT_NEAR(metric(r.sums, "rhythm/reward/right"), x[0], 1e-12);
  EXPECT_NEAR(metric(r.sums, "rhythm/reward/wrong"), (x[1] + x[2]) / 2, 1e-12);
  const double mean = (x[0] + x[1] + x[2]) / 3;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < 3; ++i) {
    xy += (x[i] - mean) * (k[i] - 4);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (k[i] - 4) * (k[i] - 4);
  }
  EXPECT_NEAR(metric(r.sums, "rhythm/reward/corr_steps"), xy / std::sqrt(xx * yy), 1e-9);
  EXPECT_NEAR(metric(r.sums, "rhythm/reward/corr_length"), xy / std::sqrt(xx * yy), 1e-9);  // length = 10 K
  EXPECT_NEAR(metric(r.sums, "rhythm/steps/mean"), 4, 1e-12);
  EXPECT_NEAR(metric(r.sums, "rhythm/z_entropy/mean"), 0, 1e-12);
  EXPECT_NEAR(metric(r.sums, "rhythm/repeated_8grams"), 0.25, 1e-12);
  EXPECT_NEAR(metric(r.sums, "rhythm/concentration_term/mean"), moments.concentration.mean, 1e-12);
  EXPECT_NEAR(metric(r.sums, "rhythm/entropy_term/right"), (0.1 + 0.2 + 0.3 + 0.7) / 4, 1e-12);
  EXPECT_NEAR(metric(r.sums, "rhythm/concentration_term/right"), (0.5 + 0.4 + 0.1 + 0.2) / 4, 1e-12);
  // Eight steps of two wrong answers: each step counts once, whichever answer it is of.
  EXPECT_NEAR(metric(r.sums, "rhythm/entropy_term/wrong"),
              (0.15 + 0.25 + 0.4 + 0.5 + 0.6 + 0.45 + 0.05 + 0.33) / 8, 1e-12);
  EXPECT_NEAR(metric(r.sums, "rhythm/concentration_term/wrong"),
              (0.55 + 0.45 + 0.3 + 0.35 + 0.15 + 0.05 + 0.6 + 0.33) / 8, 1e-12);
  EXPECT_TRUE(std::isnan(metric(RewardSums{}, "rhythm/reward/mean")));
  EXPECT_NEAR(metric(r.sums, "rhythm/paid/mean"),
              (r.sequences[0].total + r.sequences[1].total + r.sequences[2].total) / 3, 1e-12);
  EXPECT_EQ(metric(r.sums, "rhythm/capped_share"), 0);
  RhythmConfig tight;
  tight.cap = 1e-3;
  auto batch = batch_of_twelve();
  batch[1].steps.clear();  // nothing to pay, so nothing to cut
  EXPECT_NEAR(metric(reward_batch(batch, kOutcomes, tight, moments).sums, "rhythm/capped_share"), 2.0 / 3,
              1e-12);
}

TEST(Moments, OneBatchGivesItsOwnDeviation) {
  DecayedMoments m;
  EXPECT_EQ(m.sigma(), 0);
  m.update(batch_moments({1, 2, 3, 6}), 0.99);
  EXPECT_DOUBLE_EQ(m.mean, 3);
  EXPECT_DOUBLE_EQ(m.sigma(), std::sqrt(14.0 / 4));
}

TEST(Moments, WithoutDecayTwoBatchesEqualOne) {
  DecayedMoments parts, whole;
  parts.update(batch_moments({1, 2, 3, 6}), 1.0);
  parts.update(batch_moments({-4, 10, 0.5}), 1.0);
  whole.update(batch_moments({1, 2, 3, 6, -4, 10, 0.5}), 1.0);
  EXPECT_DOUBLE_EQ(parts.mean, whole.mean);
  EXPECT_DOUBLE_EQ(parts.sigma(), whole.sigma());
}

TEST(Moments, AnEmptyBatchChangesNoDeviation) {
  DecayedMoments m;
  m.update(batch_moments({1, 2, 3, 6}), 0.99);
  const double sigma = m.sigma();
  m.update(batch_moments({}), 0.99);
  EXPECT_DOUBLE_EQ(m.sigma(), sigma);
  EXPECT_DOUBLE_EQ(m.mean, 3);
  DecayedMoments fresh;
  fresh.update(batch_moments({}), 0.99);
  EXPECT_EQ(fresh.sigma(), 0);
}

TEST(Moments, ZIsClippedAndZeroWhereItMeansNothing) {
  const ZConfig config;
  const BatchMoments batch{.n = 8, .mean = 1, .squares = 0};
  EXPECT_DOUBLE_EQ(standardise(1.5, batch, 0.5, config), 1);
  EXPECT_DOUBLE_EQ(standardise(9, batch, 0.5, config), 3);
  EXPECT_DOUBLE_EQ(standardise(-9, batch, 0.5, config), -3);
  EXPECT_EQ(standardise(kMissing, batch, 0.5, config), 0);
  EXPECT_EQ(standardise(9, batch, 9e-7, config), 0);
  EXPECT_EQ(standardise(9, {.n = 7, .mean = 1, .squares = 0}, 0.5, config), 0);
}

TEST(Moments, StateSurvivesJsonToTheLastBit) {
  RhythmMoments m;
  m.entropy.update(batch_moments({0.1, 0.7, 1.0 / 3}), 0.99);
  m.entropy.update(batch_moments({0.2}), 0.99);
  m.concentration.update(batch_moments({1e-17, 3e5}), 0.99);
  const RhythmMoments back =
      RhythmMoments::from_json(core::parse_json(core::dump_json(m.to_json()), "state"), "state");
  EXPECT_EQ(back.entropy.weight, m.entropy.weight);
  EXPECT_EQ(back.entropy.mean, m.entropy.mean);
  EXPECT_EQ(back.entropy.squares, m.entropy.squares);
  EXPECT_EQ(back.concentration.squares, m.concentration.squares);
  EXPECT_THROW(RhythmMoments::from_json(core::parse_json("{}", "state"), "state"), core::Error);
}

}  // namespace
}  // namespace pan::rhythm
