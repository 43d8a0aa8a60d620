#include "metrics/metric.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"

namespace pan::metrics {
namespace {

TEST(Metric, AMeanOfPartsIsTheMeanOfAll) {
  MetricSet a, b;
  a.mean("m", 10, 4);
  b.mean("m", 1, 1);
  b.mean("m", 1, 1);
  a.merge(b);
  EXPECT_EQ(a.values().at("m"), 12.0 / 6);  // not the mean of 2.5 and 1
}

TEST(Metric, KindsCombineAsTheyShould) {
  MetricSet a, b;
  for (MetricSet* m : {&a, &b}) {
    const double x = m == &a ? 3 : 5;
    m->sum("sum", x);
    m->max("max", x);
    m->min("min", x);
    m->last("last", x);
  }
  a.merge(b);
  EXPECT_EQ(a.values(), (Values{{"sum", 8}, {"max", 5}, {"min", 3}, {"last", 5}}));
}

TEST(Metric, NothingAddedIsLeftOutNotZero) {
  MetricSet m;
  m.mean("none", 0, 0);
  m.spread("spread", {});
  m.three("x", {});
  EXPECT_TRUE(m.values().empty());
  m.mean("none", 6, 2);
  EXPECT_EQ(m.values().at("none"), 3.0);
}

TEST(Metric, NanStaysVisible) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  MetricSet m;
  for (double x : {1.0, nan, 2.0}) {
    m.max("max", x);
    m.min("min", x);
    m.mean("mean", x);
  }
  for (const auto& [key, value] : m.values()) EXPECT_TRUE(std::isnan(value)) << key;
}

TEST(Metric, MixedKindsAreRefused) {
  MetricSet a, b;
  a.mean("m", 1);
  EXPECT_THROW(a.sum("m", 1), core::Error);
  b.max("m", 1);
  EXPECT_THROW(a.merge(b), core::Error);
}

TEST(Metric, SpreadOfPartsEqualsTheTwoPassFormulaOverAll) {
  core::rng::Stream random({3, core::rng::Purpose::kTest, 1, 0});
  std::vector<double> all;
  MetricSet merged;
  for (size_t size : {1u, 7u, 0u, 30u, 2u}) {
    std::vector<double> part;
    for (size_t i = 0; i < size; ++i)
      part.push_back(1e6 + random.normal());  // a large mean would ruin E[x^2] - E[x]^2
    all.insert(all.end(), part.begin(), part.end());
    MetricSet one;
    one.spread("s", part);
    merged.merge(one);
  }
  double mean = 0, squares = 0;
  for (double x : all) mean += x / static_cast<double>(all.size());
  for (double x : all) squares += (x - mean) * (x - mean);
  EXPECT_NEAR(merged.values().at("s"), std::sqrt(squares / static_cast<double>(all.size())), 1e-9);
}

TEST(Metric, ThreeGivesMeanMaxMin) {
  MetricSet m;
  m.three("len", {4, 1, 7});
  EXPECT_EQ(m.values(), (Values{{"len/max", 7}, {"len/mean", 4}, {"len/min", 1}}));
}

TEST(Metric, JsonRoundTripGoesOnAsIfNothingHadBeen) {
  MetricSet m;
  m.mean("mean", 1.0 / 3, 7);
  m.spread("spread", {1.1, 2.2, 3.4});
  m.max("max", -1e300);
  const std::string text = core::dump_json(m.to_json());
  MetricSet again = MetricSet::from_json(core::parse_json(text, "t"), "t");
  for (MetricSet* x : {&m, &again}) {
    x->mean("mean", 5, 2);
    x->spread("spread", {9});
  }
  EXPECT_EQ(again.values(), m.values());
  for (const char* bad :
       {"[]", R"({"a": 3})", R"({"a": [9, 1, 1, 0]})", R"({"a": [0, "x", 1, 0]})", R"({"a": [0, 1]})"}) {
    EXPECT_THROW(MetricSet::from_json(core::parse_json(bad, "t"), "t"), core::Error) << bad;
  }
}

}  // namespace
}  // namespace pan::metrics
