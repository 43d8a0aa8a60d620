// The module against the specification's own figures on eager attention maps (tests/fixtures/rhythm).
#include <gtest/gtest.h>

#include <algorithm>

#include "rhythm/credit.h"
#include "rhythm/fixture.h"

namespace pan::rhythm {
namespace {

using testing::expected_groups;
using testing::expected_sequence;
using testing::Fixture;
using testing::integers;
using testing::number;
using testing::numbers;
using testing::the_fixture;

// Bounds of docs/rhythm.md section 2.
double bound_of(const std::string& name, double ref) {
  const double size = std::abs(ref);
  if (name == "lse" || name == "lse_ns" || name == "entropy") return 2e-5 * (1 + size);
  if (name == "norm_entropy" || name == "sink_mass" || name == "anchor_mass") return 1e-5;
  if (name == "fai") return 1e-4 * size + 1e-7;
  return 2e-5 * size + 1e-5;  // distance, distance_ns, waad
}

void expect_series(const std::string& name, const std::vector<double>& got,
                   const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size()) << name;
  for (size_t t = 0; t < got.size(); ++t) {
    ASSERT_EQ(std::isnan(got[t]), std::isnan(expected[t])) << name << " at " << t;
    if (std::isnan(got[t])) continue;
    ASSERT_NEAR(got[t], expected[t], bound_of(name, expected[t])) << name << " at " << t;
  }
}

void expect_pair(const std::array<double, 2>& got, const std::array<double, 2>& expected, double bound) {
  for (const size_t phase : {kPreplan, kAnchor}) {
    EXPECT_EQ(std::isnan(got[phase]), std::isnan(expected[phase]));
    if (!std::isnan(got[phase])) {
      EXPECT_NEAR(got[phase], expected[phase], bound);
    }
  }
}

void expect_same_steps(const SequenceRhythm& got, const SequenceRhythm& expected) {
  ASSERT_EQ(got.steps.size(), expected.steps.size());
  for (size_t k = 0; k < got.steps.size(); ++k) {
    SCOPED_TRACE("step " + std::to_string(k));
    const StepRhythm &a = got.steps[k], &b = expected.steps[k];
    EXPECT_EQ(a.step.begin, b.step.begin);
    EXPECT_EQ(a.step.end, b.step.end);
    EXPECT_EQ(a.step.preplan_end, b.step.preplan_end);
    EXPECT_EQ(a.repeated, b.repeated);
    EXPECT_EQ(a.anchors, b.anchors);
    expect_pair(a.preplan_entropy, b.preplan_entropy, bound_of("norm_entropy", 0));
    // (mass - u) / (1 - u) stretches an error by 1 / (1 - u); u < 0.2 here.
    expect_pair(a.anchor_concentration, b.anchor_concentration, bound_of("anchor_mass", 0) / 0.8);
  }
}

RhythmConfig measuring_config(const std::string& name) {
  RhythmConfig c;
  if (name == "sentence") c.steps = StepRule::kSentence;
  if (name == "waad") c.steps = StepRule::kWaad;
  return c;
}

HeadGroups groups_for(const Fixture& f, const std::string& measured) {
  return expected_groups(f, measured == "refreshed" ? "refreshed" : "first");
}

RhythmConfig reward_config(const core::Json& x) {
  RhythmConfig c;
  c.form = x["form"] == "level" ? Form::kLevel : Form::kContrast;
  c.lambda = x["lambda"];
  c.cap = x["cap"].is_null() ? std::nullopt : std::optional<double>(x["cap"].get<double>());
  return c;
}

TEST(RhythmOracle, StatisticsOfEveryHeadAreWithinTheirBounds) {
  const Fixture& f = the_fixture();
  const HeadStatistics s = head_statistics(f.layers, f.cu_seqlens, f.prompt_lengths, {});
  const std::vector<std::pair<std::string, at::Tensor>> checked = {{"entropy", s.entropy},
                                                                   {"norm_entropy", s.norm_entropy},
                                                                   {"distance", s.distance},
                                                                   {"distance_ns", s.distance_ns},
                                                                   {"waad", s.waad},
                                                                   {"sink_mass", s.sink_mass},
                                                                   {"fai", s.fai}};
  const auto names = f.json["layout"]["stats"].get<std::vector<std::string>>();
  for (const auto& [name, got] : checked) {
    const auto index = std::find(names.begin(), names.end(), name) - names.begin();
    const at::Tensor expected = f.stats[index].contiguous();
    ASSERT_EQ(got.sizes(), expected.sizes()) << name;
    const at::Tensor own = got.contiguous();
    for (int64_t i = 0; i < own.numel(); ++i) {
      const double ref = expected.const_data_ptr<float>()[i];
      ASSERT_NEAR(own.const_data_ptr<float>()[i], ref, bound_of(name, ref)) << name << " " << i;
    }
  }
}

TEST(RhythmOracle, HeadGroupsAreThoseOfTheSpecification) {
  const Fixture& f = the_fixture();
  for (const std::string name : {"first", "refreshed"}) {
    SCOPED_TRACE(name);
    const auto& expected = f.json["groups"][name];
    RhythmConfig config;
    config.exclude_sink = expected["exclude_sink"];
    HeadGroupCalibrator calibrator(config);
    const auto sequences = integers(expected["sequences"]);
    // In two micro-batches: the split must not matter.
    for (const auto& part : {std::vector<size_t>{static_cast<size_t>(sequences[0])},
                             std::vector<size_t>(sequences.begin() + 1, sequences.end())}) {
      const Fixture some = f.only(part);
      calibrator.add(some.layers, some.cu_seqlens, some.prompt_lengths);
    }
    const HeadGroups groups = calibrator.finish(), reference = expected_groups(f, name);
    EXPECT_EQ(groups.local, reference.local);
    EXPECT_EQ(groups.global, reference.global);
    EXPECT_EQ(groups.layers, reference.layers);
    EXPECT_EQ(groups.num_sequences, expected["num_sequences"].get<int64_t>());
    EXPECT_NEAR(groups.local_overlap, number(expected["local_overlap"]), 1e-12);
    EXPECT_NEAR(groups.global_overlap, number(expected["global_overlap"]), 1e-12);
    for (size_t i = 0; i < reference.distance.size(); ++i)
      EXPECT_NEAR(groups.distance[i], reference.distance[i], bound_of("distance", reference.distance[i]))
          << i;
  }
}

class MeasureOracle : public ::testing::TestWithParam<std::string> {};

TEST_P(MeasureOracle, StepsAnchorsAndGroupMeansAreThoseOfTheSpecification) {
  const Fixture& f = the_fixture();
  const auto got =
      measure(f.layers, f.cu_seqlens, f.texts, groups_for(f, GetParam()), measuring_config(GetParam()));
  const auto& expected = f.json["measured"][GetParam()];
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE("sequence " + std::to_string(i));
    const SequenceRhythm reference = expected_sequence(expected[i]);
    EXPECT_EQ(got[i].num_tokens, reference.num_tokens);
    EXPECT_EQ(got[i].prompt_length, reference.prompt_length);
    expect_same_steps(got[i], reference);
    expect_series("waad", got[i].waad, reference.waad);
    expect_series("norm_entropy", got[i].norm_entropy, reference.norm_entropy);
    expect_series("fai", got[i].fai, reference.fai);
    EXPECT_EQ(std::isnan(got[i].repeated_8grams), std::isnan(reference.repeated_8grams));
    if (!std::isnan(reference.repeated_8grams)) {
      EXPECT_NEAR(got[i].repeated_8grams, reference.repeated_8grams, 1e-12);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, MeasureOracle, ::testing::Values("newline", "sentence", "waad", "refreshed"),
                         [](const auto& rule) { return rule.param; });

TEST(RhythmOracle, ASequenceIsTheSameInAnyMicroBatch) {
  const Fixture& f = the_fixture();
  const HeadGroups groups = expected_groups(f, "first");
  const auto together = measure(f.layers, f.cu_seqlens, f.texts, groups, {});
  for (size_t i = 0; i < f.texts.size(); ++i) {
    const Fixture one = f.only({i});
    const auto alone = measure(one.layers, one.cu_seqlens, one.texts, groups, {})[0];
    ASSERT_EQ(alone.steps.size(), together[i].steps.size());
    for (size_t k = 0; k < alone.steps.size(); ++k) {
      EXPECT_EQ(alone.steps[k].anchors, together[i].steps[k].anchors);
      for (const size_t phase : {kPreplan, kAnchor}) {
        const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
        EXPECT_TRUE(same(alone.steps[k].preplan_entropy[phase], together[i].steps[k].preplan_entropy[phase]));
        EXPECT_TRUE(same(alone.steps[k].anchor_concentration[phase],
                         together[i].steps[k].anchor_concentration[phase]));
      }
    }
  }
}

void expect_batch(const BatchMoments& got, const core::Json& expected) {
  EXPECT_EQ(got.n, expected["n"].get<int64_t>());
  EXPECT_NEAR(got.mean, number(expected["mean"]), 1e-9);
  EXPECT_NEAR(got.squares, number(expected["squares"]), 1e-9);
}

void expect_moments(const DecayedMoments& got, const core::Json& expected) {
  EXPECT_NEAR(got.weight, number(expected["weight"]), 1e-9);
  EXPECT_NEAR(got.mean, number(expected["mean"]), 1e-9);
  EXPECT_NEAR(got.squares, number(expected["squares"]), 1e-9);
}

void expect_result(const SequenceReward& got, const core::Json& expected, double bound) {
  ASSERT_EQ(got.steps.size(), expected["scores"].size());
  for (size_t k = 0; k < got.steps.size(); ++k) {
    const auto score = numbers(expected["scores"][k]);
    EXPECT_NEAR(got.steps[k].z_entropy, score[0], bound);
    EXPECT_NEAR(got.steps[k].z_concentration, score[1], bound);
    EXPECT_NEAR(got.steps[k].reward, score[2], bound);
  }
  ASSERT_EQ(got.payments.size(), expected["payments"].size());
  for (size_t j = 0; j < got.payments.size(); ++j) {
    EXPECT_EQ(got.payments[j].position, expected["payments"][j][0].get<int64_t>());
    EXPECT_NEAR(got.payments[j].amount, expected["payments"][j][1].get<double>(), bound);
  }
  EXPECT_NEAR(got.total, number(expected["total"]), bound);
  EXPECT_EQ(got.capped, expected["capped"].get<bool>());
}

// From the specification's own step statistics: nothing but arithmetic in float64.
TEST(RhythmOracle, RewardsAndMomentsOverSeveralBatches) {
  const Fixture& f = the_fixture();
  for (const auto& run : f.json["runs"]) {
    const RhythmConfig config = reward_config(run["config"]);
    RhythmMoments moments;
    for (const auto& batch : run["batches"]) {
      SCOPED_TRACE(run["name"].get<std::string>() + ", " + batch["source"].get<std::string>());
      if (batch["reset"]) moments.reset();
      std::vector<SequenceRhythm> sequences;
      std::vector<Outcome> outcomes;
      for (const int64_t i : integers(batch["sequences"]))
        sequences.push_back(expected_sequence(f.json["measured"][batch["source"].get<std::string>()][i]));
      for (const auto& cut : batch["truncated"])
        outcomes.push_back({.truncated = cut == 1, .correct = false});
      const RewardResult result = reward_batch(sequences, outcomes, config, moments);
      expect_batch(result.entropy_batch, batch["entropy_batch"]);
      expect_batch(result.concentration_batch, batch["concentration_batch"]);
      expect_moments(moments.entropy, batch["moments"]["entropy"]);
      expect_moments(moments.concentration, batch["moments"]["concentration"]);
      ASSERT_EQ(result.sequences.size(), batch["results"].size());
      for (size_t i = 0; i < result.sequences.size(); ++i)
        expect_result(result.sequences[i], batch["results"][i], 1e-8);
    }
  }
}

// The whole way from queries and keys to payments, with a refresh of the head groups.
TEST(RhythmOracle, FromQueriesAndKeysToPayments) {
  const Fixture& f = the_fixture();
  for (const auto& run : f.json["runs"]) {
    const std::string name = run["name"];
    if (name.find("made up") == 0 || name == "flat") continue;
    const RhythmConfig config = reward_config(run["config"]);
    RhythmMoments moments;
    for (const auto& batch : run["batches"]) {
      SCOPED_TRACE(name);
      if (batch["reset"]) moments.reset();
      const std::string source = batch["source"];
      const auto indices = integers(batch["sequences"]);
      const Fixture some = f.only({indices.begin(), indices.end()});
      RhythmConfig measuring = measuring_config(source);
      const auto sequences =
          measure(some.layers, some.cu_seqlens, some.texts, groups_for(f, source), measuring);
      std::vector<Outcome> outcomes;
      for (const auto& cut : batch["truncated"])
        outcomes.push_back({.truncated = cut == 1, .correct = false});
      const RewardResult result = reward_batch(sequences, outcomes, config, moments);
      // A term is a difference of two bounded means, z divides it by sigma, and a sum of up to 20 shares is
      // paid.
      const double sigma = std::min(moments.entropy.sigma(), moments.concentration.sigma());
      const double bound = 20 * 2 * 2e-5 / sigma * std::max(1.0, config.lambda);
      ASSERT_LT(bound, 0.05);
      for (size_t i = 0; i < result.sequences.size(); ++i)
        expect_result(result.sequences[i], batch["results"][i], bound);
    }
  }
}

Credit credit_named(const std::string& name) {
  for (const auto& [text, value] : {std::pair{"none", Credit::kNone},
                                    {"random", Credit::kRandom},
                                    {"entropy", Credit::kEntropy},
                                    {"local_chunk", Credit::kLocalChunk},
                                    {"global_anchor", Credit::kGlobalAnchor},
                                    {"coupled", Credit::kCoupled}})
    if (name == text) return value;
  throw std::runtime_error("unknown credit " + name);
}

TEST(RhythmOracle, CreditOfEveryModeFromQueriesAndKeys) {
  const Fixture& f = the_fixture();
  const auto measured = measure(f.layers, f.cu_seqlens, f.texts, expected_groups(f, "first"), {});
  for (const auto& x : f.json["credit"]) {
    const auto i = x["sequence"].get<size_t>();
    SCOPED_TRACE(x["credit"].get<std::string>() + " of sequence " + std::to_string(i));
    RhythmConfig config;
    config.credit = credit_named(x["credit"]);
    config.credit_select = x["credit_select"] == "bottom" ? CreditSelect::kBottom : CreditSelect::kTop;
    config.credit_q = x["credit_q"];
    config.gamma_amp = x["gamma_amp"];
    config.alpha = x["alpha"];
    config.k = x["k"];
    const CreditResult got = shape_credit({.prompt_length = measured[i].prompt_length,
                                           .num_tokens = measured[i].num_tokens,
                                           .waad = measured[i].waad,
                                           .fai = measured[i].fai,
                                           .token_entropy = f.token_entropy[i],
                                           .seed = x["seed"],
                                           .sample_id = x["sample_id"]},
                                          config);
    EXPECT_EQ(got.selected, integers(x["selected"]));
    const auto gamma = numbers(x["gamma"]);
    ASSERT_EQ(got.gamma.size(), gamma.size());
    for (size_t t = 0; t < gamma.size(); ++t) EXPECT_NEAR(got.gamma[t], gamma[t], 1e-12) << t;
    if (config.credit != Credit::kCoupled) continue;
    EXPECT_EQ(got.local, integers(x["local"]));
    EXPECT_EQ(got.dominated, integers(x["dominated"]));
    EXPECT_EQ(got.introduced, integers(x["introduced"]));
  }
}

TEST(RhythmOracle, TiesOfTopQGoToTheEarlierPosition) {
  for (const auto& x : the_fixture().json["ties"]) {
    const auto series = numbers(x["x"]);
    const auto end = static_cast<int64_t>(series.size());
    EXPECT_EQ(top_q(series, x["begin"], end, x["q"]), integers(x["top"]));
    EXPECT_EQ(top_q(series, x["begin"], end, x["q"], CreditSelect::kBottom), integers(x["bottom"]));
  }
}

}  // namespace
}  // namespace pan::rhythm
