// Inputs that break careless formulas, and identities that hold whatever the inputs are.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/attention_stats.h"
#include "kernels/cases.h"
#include "kernels/reference/reference.h"

namespace pan::kernels::testing {
namespace {

void expect_matches_reference(const Shape& shape, const Batch& batch, const Batch& moved) {
  const RowStatsOptions options = options_of(shape, batch);
  expect_row_stats(row_stats(moved.q, moved.k, moved.cu_seqlens, options),
                   reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options),
                   max_score(batch, options.scale));
}

using HostileAttention = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, HostileAttention, ::testing::Values("cpu", "cuda"));

TEST_P(HostileAttention, SinkFarAboveTheRest) {
  for (double above : {10.0, 17.0, 25.0, 110.0}) {
    for (int64_t num_sink : {0, 1, 4}) {
      SCOPED_TRACE(::testing::Message() << "sink +" << above << ", n_sink " << num_sink);
      const Shape shape{.length = 300, .num_sink = num_sink};
      Batch batch = make_batch(shape, 5, 1.0);
      // One coordinate carries the sink's score: q = sqrt(D) there, k = `above` at position 0 and 0
      // elsewhere.
      batch.q.select(2, 0).fill_(std::sqrt(static_cast<float>(shape.head_size)));
      batch.k.select(2, 0).fill_(0);
      batch.k.select(0, 0).fill_(0);
      batch.k.select(0, 0).select(1, 0).fill_(above);
      expect_matches_reference(shape, batch, on_device(batch));
    }
  }
}

TEST_P(HostileAttention, EqualScoresGiveKnownValues) {
  for (float value : {0.0f, 3.0f}) {
    const Shape shape{.length = 500, .num_heads = 3, .num_key_heads = 1, .num_sink = 1};
    Batch batch = make_batch(shape, 1);
    batch.q.fill_(value);
    batch.k.fill_(0.5f);
    const Batch moved = on_device(batch);
    const RowStats out = row_stats(moved.q, moved.k, moved.cu_seqlens, options_of(shape, batch));
    for (int64_t t : {0, 1, 2, 47, 48, 49, 499}) {
      const double n = static_cast<double>(t) + 1;
      auto at = [&](const at::Tensor& x) { return x[2][t].item<double>(); };
      EXPECT_NEAR(at(out.entropy), std::log(n), 2e-5);
      EXPECT_NEAR(at(out.distance), t / 2.0, 2e-5 * n);
      EXPECT_NEAR(at(out.norm_entropy), t >= 2 ? 1.0 : 0.0, 1e-5);
      EXPECT_NEAR(at(out.sink_mass), 1 / n, 1e-5);
      EXPECT_NEAR(at(out.distance_ns), t >= 1 ? (t - 1) / 2.0 : 0.0, 2e-5 * n);
    }
    EXPECT_EQ(out.lse_ns[0][0].item<float>(), -INFINITY);
  }
}

TEST_P(HostileAttention, OneHotRows) {
  // Key s is 600 e_(s mod D): the row looks at one key (or at equals a multiple of D away).
  const Shape shape{.length = 200, .head_size = 64, .num_heads = 1, .num_key_heads = 1};
  Batch batch = make_batch(shape, 2);
  batch.q.fill_(0);
  batch.k.fill_(0);
  for (int64_t t = 0; t < shape.length; ++t) {
    batch.q[t][0][(t * 7) % 64] = 8.0f;
    batch.k[t][0][t % 64] = 600.0f;
  }
  expect_matches_reference(shape, batch, on_device(batch));
}

TEST_P(HostileAttention, HugeScores) {
  for (double spread : {40.0, 2000.0}) {
    const Shape shape{.length = 257, .num_heads = 2, .num_key_heads = 1, .num_sink = 4};
    const Batch batch = make_batch(shape, 9, spread);
    const double largest = max_score(batch, 1.0 / 8.0);
    EXPECT_GT(largest, 50);
    expect_matches_reference(shape, batch, on_device(batch));
  }
}

TEST_P(HostileAttention, LateMaximumAfterAVeryLowStart) {
  // Every tile has a higher maximum than all before it: the rescaling of the online softmax is always at
  // work.
  const Shape shape{.length = 400, .num_heads = 1, .num_key_heads = 1};
  Batch batch = make_batch(shape, 4, 0.5);
  batch.q.select(2, 0).fill_(8.0f);
  batch.k.select(2, 0).copy_(at::arange(400, at::kFloat).unsqueeze(1) * 0.25f - 50.0f);
  expect_matches_reference(shape, batch, on_device(batch));
}

TEST_P(HostileAttention, NotANumberStaysVisible) {
  const Shape shape{.length = 40, .num_heads = 1, .num_key_heads = 1};
  Batch batch = make_batch(shape, 4);
  batch.k[20][0][3] = NAN;
  const Batch moved = on_device(batch);
  const RowStats out = row_stats(moved.q, moved.k, moved.cu_seqlens, options_of(shape, batch));
  EXPECT_TRUE(std::isfinite(out.lse[0][19].item<float>()));
  EXPECT_TRUE(std::isnan(out.lse[0][20].item<float>()));
  EXPECT_TRUE(std::isnan(out.entropy[0][39].item<float>()));
}

bool same_bits(const RowStats& a, const RowStats& b) {
  return at::equal(a.lse, b.lse) && at::equal(a.lse_ns, b.lse_ns) && at::equal(a.entropy, b.entropy) &&
         at::equal(a.norm_entropy, b.norm_entropy) && at::equal(a.distance, b.distance) &&
         at::equal(a.distance_ns, b.distance_ns) && at::equal(a.waad, b.waad) &&
         at::equal(a.sink_mass, b.sink_mass);
}

RowStats slice(const RowStats& x, int64_t begin, int64_t end) {
  auto cut = [&](const at::Tensor& y) { return y.slice(1, begin, end); };
  return {cut(x.lse),      cut(x.lse_ns),      cut(x.entropy), cut(x.norm_entropy),
          cut(x.distance), cut(x.distance_ns), cut(x.waad),    cut(x.sink_mass)};
}

using AttentionIdentities = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, AttentionIdentities, ::testing::Values("cpu", "cuda"));

TEST_P(AttentionIdentities, OtherSequencesChangeNothingBitForBit) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Shape shape{.length = 150, .num_heads = 6, .num_key_heads = 2, .type = type, .ragged = true};
    const Batch batch = on_device(make_batch(shape, 21));
    const RowStatsOptions options{.scale = 0.125};
    const RowStats together = row_stats(batch.q, batch.k, batch.cu_seqlens, options);
    const at::Tensor fai = attention_fai(batch.q, batch.k, together.lse, batch.cu_seqlens, 0.125, 2, 30, {});
    std::vector<at::Tensor> q, k;
    std::vector<int64_t> cu{0};
    for (size_t b = batch.cu_seqlens.size() - 1; b-- > 0;) {  // alone, and in the opposite order
      const int64_t begin = batch.cu_seqlens[b], end = batch.cu_seqlens[b + 1];
      const at::Tensor one_q = batch.q.slice(0, begin, end), one_k = batch.k.slice(0, begin, end);
      const RowStats alone = row_stats(one_q, one_k, {0, end - begin}, options);
      EXPECT_TRUE(same_bits(alone, slice(together, begin, end)));
      q.push_back(one_q), k.push_back(one_k);
      cu.push_back(cu.back() + end - begin);
      EXPECT_TRUE(at::equal(attention_fai(one_q, one_k, alone.lse, {0, end - begin}, 0.125, 2, 30, {}),
                            fai.slice(1, begin, end)));
    }
    const RowStats reversed = row_stats(at::cat(q), at::cat(k), cu, options);
    for (size_t b = 0; b + 1 < cu.size(); ++b) {
      const size_t from = cu.size() - 2 - b;
      EXPECT_TRUE(same_bits(slice(reversed, cu[b], cu[b + 1]),
                            slice(together, batch.cu_seqlens[from], batch.cu_seqlens[from + 1])));
    }
  }
}

TEST_P(AttentionIdentities, ThreadsChangeNothingBitForBit) {
  const Shape shape{.length = 333, .num_heads = 6, .num_key_heads = 2, .ragged = true};
  const Batch batch = on_device(make_batch(shape, 22));
  const at::Tensor weights = on_device(at::rand({6}));
  const int before = at::get_num_threads();
  std::vector<RowStats> stats;
  std::vector<at::Tensor> bands;
  for (int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    stats.push_back(row_stats(batch.q, batch.k, batch.cu_seqlens, {}));
    bands.push_back(
        attention_band(batch.q, batch.k, stats.back().lse, batch.cu_seqlens, 0, 10, 100, weights));
  }
  at::set_num_threads(before);
  for (size_t i = 1; i < stats.size(); ++i) {
    EXPECT_TRUE(same_bits(stats[0], stats[i]));
    EXPECT_TRUE(at::equal(bands[0], bands[i]));
  }
}

TEST_P(AttentionIdentities, BandAndColumnMeansAgree) {
  const Shape shape{.length = 180, .num_heads = 1, .num_key_heads = 1};
  const Batch batch = on_device(make_batch(shape, 23));
  const RowStats stats = row_stats(batch.q, batch.k, batch.cu_seqlens, {});
  const at::Tensor band =
      attention_band(batch.q, batch.k, stats.lse, batch.cu_seqlens, 0, 10, 100, on_device(at::ones({1})))
          .cpu();
  const at::Tensor fai = attention_fai(batch.q, batch.k, stats.lse, batch.cu_seqlens, 0, 10, 100, {}).cpu();
  for (int64_t s : {0, 1, 50, 79, 80, 150, 169, 170, 179}) {
    double sum = 0;
    int64_t rows = 0;
    for (int64_t t = s + 10; t <= std::min<int64_t>(179, s + 100); ++t, ++rows)
      sum += band[t][t - s - 10].item<float>();
    EXPECT_NEAR(fai[0][s].item<float>(), rows > 0 ? sum / static_cast<double>(rows) : 0.0, 1e-6);
  }
}

TEST_P(AttentionIdentities, AllNonSinkKeysAsAnchorsHoldAllNonSinkMass) {
  const Shape shape{.length = 90, .num_heads = 2, .num_key_heads = 1};
  const Batch batch = on_device(make_batch(shape, 24));
  const RowStats stats = row_stats(batch.q, batch.k, batch.cu_seqlens, {.num_sink = 2});
  std::vector<std::vector<int64_t>> anchors(90);
  std::vector<int64_t> step_of(90, -1);
  for (int64_t t = 10; t < 90; ++t) {
    step_of[t] = t;
    for (int64_t s = 2; s < t; ++s) anchors[t].push_back(s);
  }
  const at::Tensor mass =
      anchor_mass(batch.q, batch.k, stats.lse_ns, batch.cu_seqlens, 0, step_of, anchors, {1}).cpu();
  // What is left is the row's own key.
  const at::Tensor own = (batch.q.select(1, 1) * batch.k.select(1, 0)).sum(1) / 8.0;
  const at::Tensor rest = (own - stats.lse_ns[1]).exp().cpu();
  for (int64_t t = 10; t < 90; ++t) EXPECT_NEAR(mass[0][t].item<float>() + rest[t].item<float>(), 1.0, 1e-5);
  EXPECT_EQ(mass[0][9].item<float>(), 0.0f);
}

}  // namespace
}  // namespace pan::kernels::testing
