// Head groups, settings and the checks of measuring.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <limits>

#include "core/error.h"
#include "core/schema.h"
#include "rhythm/fixture.h"

namespace pan::rhythm {
namespace {

TEST(HeadGroups, TiesGoByLayerAndHead) {
  const HeadGroups g = make_head_groups({3, 7}, 5, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2});
  EXPECT_EQ(g.local, (std::vector<Head>{{3, 0}, {3, 1}, {3, 2}}));
  EXPECT_EQ(g.global, (std::vector<Head>{{7, 2}, {7, 3}, {7, 4}}));
}

TEST(HeadGroups, AGroupIsThreeTenthsRoundedDownButAtLeastOne) {
  for (const auto& [heads, size] :
       std::vector<std::pair<int64_t, size_t>>{{2, 1}, {3, 1}, {6, 1}, {7, 2}, {20, 6}, {21, 6}}) {
    std::vector<double> d;
    for (int64_t i = 0; i < heads; ++i) d.push_back(static_cast<double>((i * 7) % heads));
    const HeadGroups g = make_head_groups({0}, heads, d);
    EXPECT_EQ(g.local.size(), size) << heads;
    EXPECT_EQ(g.global.size(), size) << heads;
  }
}

TEST(HeadGroups, OneHeadIsRefused) { EXPECT_THROW(make_head_groups({0}, 1, {1.0}), core::Error); }

TEST(HeadGroups, StateSurvivesJson) {
  HeadGroups g = make_head_groups({3, 7}, 2, {0.1, 1.0 / 3, 5, 2});
  g.local_overlap = 0.5;
  g.num_sequences = 12;
  const auto json = core::parse_json(core::dump_json(g.to_json()), "state");
  const HeadGroups back = HeadGroups::from_json(json, "state");
  EXPECT_EQ(back.layers, g.layers);
  EXPECT_EQ(back.heads_per_layer, 2);
  EXPECT_EQ(back.local, g.local);
  EXPECT_EQ(back.global, g.global);
  EXPECT_EQ(back.distance, g.distance);
  EXPECT_EQ(back.local_overlap, 0.5);
  EXPECT_EQ(back.num_sequences, 12);
}

TEST(HeadGroups, DamagedStateIsRefusedByName) {
  const core::Json good = make_head_groups({3, 7}, 2, {0.1, 0.2, 5, 2}).to_json();
  const auto refused = [&](const std::string& pointer, const core::Json& value) {
    core::Json bad = good;
    bad[nlohmann::ordered_json::json_pointer(pointer)] = value;
    try {
      HeadGroups::from_json(bad, "groups.json");
    } catch (const core::Error& e) {
      return e.kind() == core::ErrorKind::kData &&
             std::string(e.what()).find("groups.json") != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused("/layers", "three"));
  EXPECT_TRUE(refused("/local", core::Json::array()));
  EXPECT_TRUE(refused("/local/0/0", 4));                        // a layer that is not tapped
  EXPECT_TRUE(refused("/local/0/1", 2));                        // a head that does not exist
  EXPECT_TRUE(refused("/local/0", core::Json::array({7, 0})));  // in both groups
  EXPECT_TRUE(refused("/distance", core::Json::array({1.0})));
  EXPECT_TRUE(refused("/heads_per_layer", "two"));
}

TEST(HeadGroups, CalibrationNeedsAResponse) {
  const testing::Fixture none = testing::the_fixture().only({3});  // N = P
  HeadGroupCalibrator calibrator{RhythmConfig{}};
  calibrator.add(none.layers, none.cu_seqlens, none.prompt_lengths);
  EXPECT_EQ(calibrator.num_sequences(), 0);
  EXPECT_THROW(calibrator.finish(), core::Error);
}

TEST(HeadGroups, RanksMergeByAddingSums) {
  const testing::Fixture& f = testing::the_fixture();
  HeadGroupCalibrator all{RhythmConfig{}}, a{RhythmConfig{}}, b{RhythmConfig{}};
  all.add(f.layers, f.cu_seqlens, f.prompt_lengths);
  const auto first = f.only({0, 1, 2}), second = f.only({3, 4, 5, 6});
  a.add(first.layers, first.cu_seqlens, first.prompt_lengths);
  b.add(second.layers, second.cu_seqlens, second.prompt_lengths);
  for (size_t i = 0; i < a.sums().size(); ++i) a.sums()[i] += b.sums()[i];
  const HeadGroups merged = a.finish(), whole = all.finish();
  EXPECT_EQ(merged.local, whole.local);
  EXPECT_EQ(merged.num_sequences, whole.num_sequences);
  for (size_t i = 0; i < merged.distance.size(); ++i)
    EXPECT_NEAR(merged.distance[i], whole.distance[i], 1e-12);
}

TEST(Measure, GroupsOfAnotherModelAreRefused) {
  const testing::Fixture f = testing::the_fixture().only({0});
  HeadGroups groups = testing::expected_groups(testing::the_fixture(), "first");
  groups.global.push_back({.layer = 9, .head = 0});
  EXPECT_THROW(measure(f.layers, f.cu_seqlens, f.texts, groups, {}), core::Error);
  EXPECT_THROW(measure(f.layers, f.cu_seqlens, f.texts, {}, {}), core::Error);
}

TEST(Measure, TextsOfAnotherLengthAreRefused) {
  const testing::Fixture& f = testing::the_fixture();
  const testing::Fixture a = f.only({0, 1}), b = f.only({1, 0});
  EXPECT_THROW(measure(a.layers, a.cu_seqlens, b.texts, testing::expected_groups(f, "first"), {}),
               core::Error);
}

TEST(Measure, UniformAttentionIsBroadAndNotConcentrated) {
  // All scores equal: norm_entropy 1 and anchor mass u everywhere.
  const int64_t n = 60;
  std::vector<kernels::LayerQk> layers{
      {.layer = 0, .q = at::zeros({n, 2, 4}), .k = at::zeros({n, 2, 4}), .scale = 0.5}};
  SequenceText text{.prompt_length = 30,
                    .token_bytes = std::vector<std::string>(n, "a"),
                    .special = std::vector<char>(n, 0)};
  const HeadGroups groups = make_head_groups({0}, 2, {1, 2});
  const SequenceRhythm r = measure(layers, {0, n}, {text}, groups, {})[0];
  ASSERT_EQ(r.steps.size(), 1u);
  EXPECT_EQ(r.steps[0].anchors.size(), 4u);
  for (const size_t phase : {kPreplan, kAnchor}) {
    EXPECT_NEAR(r.steps[0].preplan_entropy[phase], 1, 1e-5);
    EXPECT_NEAR(r.steps[0].anchor_concentration[phase], 0, 1e-5);
  }
  EXPECT_NEAR(entropy_term(r.steps[0], Form::kLevel), 1, 1e-5);
  EXPECT_NEAR(concentration_term(r.steps[0], Form::kContrast), 0, 1e-5);
}

TEST(Measure, TheStepsOwnRowsDoNotChooseItsAnchors) {
  // Uniform attention reads early keys most, so the anchors of a step at 130 are the first eligible keys. Its
  // first row stares at key 30, just inside the band; that must not count.
  const int64_t n = 150, begin = 130, stared_at = begin - 100;
  at::Tensor q = at::zeros({n, 2, 4}), k = at::zeros({n, 2, 4});
  q.select(0, begin).fill_(20);
  k.select(0, stared_at).fill_(20);
  SequenceText text{.prompt_length = begin,
                    .token_bytes = std::vector<std::string>(n, "a"),
                    .special = std::vector<char>(n, 0)};
  text.special[3] = 1;  // whatever its bytes say
  text.token_bytes[5] = "--";
  const auto groups = make_head_groups({0}, 2, {1, 2});
  const std::vector<kernels::LayerQk> layers{{.layer = 0, .q = q, .k = k, .scale = 0.5}};
  const SequenceRhythm r = measure(layers, {0, n}, {text}, groups, {})[0];
  ASSERT_EQ(r.steps.size(), 1u);
  EXPECT_EQ(r.steps[0].anchors, (std::vector<int64_t>{1, 2, 4, 6, 7, 8, 9}));
}

TEST(Measure, NonFiniteAttentionIsMissingAndHarmless) {
  testing::Fixture f = testing::the_fixture().only({0});
  for (auto& qk : f.layers) {
    qk.q = qk.q.clone();
    qk.q.slice(0, 60, 61).fill_(std::numeric_limits<float>::quiet_NaN());
  }
  const auto r = measure(f.layers, f.cu_seqlens, f.texts,
                         testing::expected_groups(testing::the_fixture(), "first"), {})[0];
  RhythmMoments moments;
  const RewardResult result = reward_batch({r}, {{}}, {}, moments);
  EXPECT_TRUE(std::isfinite(moments.entropy.sigma()));
  for (const Payment& p : result.sequences[0].payments) EXPECT_TRUE(std::isfinite(p.amount));
}

TEST(RhythmConfig, TheDeclarationReadsWhatItPrints) {
  RhythmConfig c;
  core::Describe fields = [&](core::Fields& f) { describe(f, c); };
  core::Json json = core::print_fields(fields);
  EXPECT_EQ(json["lambda"], 0.1);
  EXPECT_EQ(json["form"], "contrast");
  EXPECT_EQ(json["layers"], "default");
  EXPECT_EQ(json["preplan"]["max_tokens"], 8);
  json["cap"] = nullptr;
  json["credit"] = "local_chunk";
  json["layers"] = {1, 2};
  core::read_fields(fields, json, "test");
  EXPECT_FALSE(c.cap.has_value());
  EXPECT_EQ(c.credit, Credit::kLocalChunk);
  EXPECT_EQ(resolve_layers(c, {5}, {0, 1, 2, 3}), (std::vector<int64_t>{1, 2}));
}

TEST(RhythmConfig, PairsThatExcludeEachOtherAreRefused) {
  const auto refused = [](const auto& change) {
    RhythmConfig c;
    change(c);
    try {
      check(c);
    } catch (const core::Error& e) {
      return e.kind() == core::ErrorKind::kConfig;
    }
    return false;
  };
  for (const Credit credit : {Credit::kNone, Credit::kRandom, Credit::kCoupled})
    EXPECT_TRUE(
        refused([&](RhythmConfig& c) { c.credit = credit, c.credit_select = CreditSelect::kBottom; }));
  for (const Credit credit : {Credit::kEntropy, Credit::kLocalChunk, Credit::kGlobalAnchor})
    EXPECT_FALSE(
        refused([&](RhythmConfig& c) { c.credit = credit, c.credit_select = CreditSelect::kBottom; }));
  EXPECT_TRUE(refused([](RhythmConfig& c) { c.h_hi = 9; }));
  EXPECT_TRUE(refused([](RhythmConfig& c) { c.h_hi = 16; }));
  EXPECT_TRUE(refused([](RhythmConfig& c) { c.preplan.min_tokens = 9; }));
  EXPECT_FALSE(refused([](RhythmConfig&) {}));
}

TEST(RhythmConfig, LayersAreANameOrAList) {
  const std::vector<int64_t> chosen{2, 3}, all{0, 1, 2, 3};
  const auto layers = [&](const std::string& text) {
    RhythmConfig c;
    c.layers = text;
    return resolve_layers(c, chosen, all);
  };
  EXPECT_EQ(layers("\"default\""), chosen);
  EXPECT_EQ(layers("\"all\""), all);
  EXPECT_EQ(layers("[3, 0]"), (std::vector<int64_t>{0, 3}));
  for (const char* bad : {"\"some\"", "[]", "[4]", "[-1]", "[1, 1]", "[1.5]", "7"})
    EXPECT_THROW(layers(bad), core::Error) << bad;
}

}  // namespace
}  // namespace pan::rhythm
