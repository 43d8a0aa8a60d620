// Inputs that break careless formulas, and identities that hold whatever the inputs are.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "kernels/attention_stats.h"
#include "kernels/cases.h"

namespace pan::kernels::testing {
namespace {

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kHalf};

using HostileAttention = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, HostileAttention, ::testing::ValuesIn(kernel_devices()));

TEST_P(HostileAttention, SinkFarAboveTheRest) {
  for (at::ScalarType type : kTypes) {
    for (double above : {10.0, 17.0, 25.0, 110.0}) {
      for (int64_t num_sink : {0, 1, 4}) {
        SCOPED_TRACE(::testing::Message() << "sink +" << above << ", n_sink " << num_sink);
        const Shape shape{.length = 200, .type = type, .num_sink = num_sink};
        Batch batch = make_batch(shape, 5, 1.0);
        // One coordinate carries the sink's score: q = sqrt(D) there, k = `above` at position 0 and 0
        // elsewhere.
        batch.q.select(2, 0).fill_(std::sqrt(static_cast<float>(shape.head_size)));
        batch.k.select(2, 0).fill_(0);
        batch.k.select(0, 0).fill_(0);
        batch.k.select(0, 0).select(1, 0).fill_(above);
        expect_all_kernels(shape, batch, on_device(batch));
      }
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

TEST_P(HostileAttention, EqualScoresWithAnySinks) {
  for (at::ScalarType type : kTypes) {
    for (int64_t num_sink : {0, 1, 4}) {
      const Shape shape{.length = 200, .type = type, .num_sink = num_sink};
      Batch batch = make_batch(shape, 1);
      batch.q.fill_(3.0f);
      batch.k.fill_(0.5f);
      expect_all_kernels(shape, batch, on_device(batch));
    }
  }
}

TEST_P(HostileAttention, OneHotRows) {
  // Key s is 600 e_(s mod D): the row looks at one key (or at equals a multiple of D away).
  for (at::ScalarType type : kTypes) {
    const Shape shape{.length = 200, .head_size = 64, .num_heads = 1, .num_key_heads = 1, .type = type};
    Batch batch = make_batch(shape, 2);
    batch.q.fill_(0);
    batch.k.fill_(0);
    for (int64_t t = 0; t < shape.length; ++t) {
      batch.q[t][0][(t * 7) % 64] = 8.0f;
      batch.k[t][0][t % 64] = 600.0f;
    }
    expect_all_kernels(shape, batch, on_device(batch));
  }
}

TEST_P(HostileAttention, HugeScores) {
  for (at::ScalarType type : kTypes) {
    for (const auto& [spread, reached] : {std::pair{40.0, 50.0}, std::pair{3000.0, 1e4}}) {
      const Shape shape{.length = 257, .num_heads = 2, .num_key_heads = 1, .type = type, .num_sink = 4};
      const Batch batch = make_batch(shape, 9, spread);
      EXPECT_GT(max_score(batch, 1.0 / 8.0), reached);
      expect_all_kernels(shape, batch, on_device(batch));
    }
  }
}

TEST_P(HostileAttention, LateMaximumAfterAVeryLowStart) {
  // Every tile has a higher maximum than all before it: the rescaling of the online softmax is always at
  // work.
  const Shape shape{.length = 400, .num_heads = 1, .num_key_heads = 1};
  Batch batch = make_batch(shape, 4, 0.5);
  batch.q.select(2, 0).fill_(8.0f);
  batch.k.select(2, 0).copy_(at::arange(400, at::kFloat).unsqueeze(1) * 0.25f - 50.0f);
  expect_all_kernels(shape, batch, on_device(batch));
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
INSTANTIATE_TEST_SUITE_P(Devices, AttentionIdentities, ::testing::ValuesIn(kernel_devices()));

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

// Every kernel, with a window and a first row: sequences alone, in the opposite order, on several threads.
TEST_P(AttentionIdentities, BatchOrderSplitAndThreadsChangeNothingAnywhere) {
  for (int64_t window : {0, 60}) {
    const Shape shape{.length = 150,
                      .num_heads = 8,
                      .num_key_heads = 2,
                      .window = window,
                      .rows = Rows::from_middle,
                      .ragged = true};
    const Batch all = on_device(make_batch(shape, 25));
    const at::Tensor weights = on_device(at::linspace(0, 1, 8));
    const auto run = [&](const Batch& b) {
      const RowStats rows = row_stats(b.q, b.k, b.cu_seqlens, options_of(shape, b));
      RowStatsOptions every_row = options_of(shape, b);
      every_row.first_row = {};
      const RowStats full = row_stats(b.q, b.k, b.cu_seqlens, every_row);
      std::vector<int64_t> step_of(static_cast<size_t>(b.q.size(0)), -1);
      for (size_t i = 0; i + 1 < b.cu_seqlens.size(); ++i) {
        for (int64_t n = b.cu_seqlens[i] + 5; n < b.cu_seqlens[i + 1]; ++n)
          step_of[static_cast<size_t>(n)] = 0;
      }
      const double scale = every_row.scale;
      return std::vector<at::Tensor>{
          rows.entropy,
          rows.distance_ns,
          rows.waad,
          attention_band(b.q, b.k, full.lse, b.cu_seqlens, scale, 10, 100, weights, window).t(),
          attention_fai(b.q, b.k, full.lse, b.cu_seqlens, scale, 10, 100, b.first_row, window),
          anchor_mass(b.q, b.k, full.lse_ns, b.cu_seqlens, scale, step_of, {{1, 2, 4}}, {7, 2}, window)};
    };
    const std::vector<at::Tensor> together = run(all);
    Batch reversed{{}, {}, {0}, {}};
    std::vector<at::Tensor> q, k;
    for (size_t b = all.cu_seqlens.size() - 1; b-- > 0;) {
      const int64_t begin = all.cu_seqlens[b], end = all.cu_seqlens[b + 1];
      q.push_back(all.q.slice(0, begin, end)), k.push_back(all.k.slice(0, begin, end));
      reversed.cu_seqlens.push_back(reversed.cu_seqlens.back() + end - begin);
      reversed.first_row.push_back(all.first_row[b]);
      const auto alone = run({q.back(), k.back(), {0, end - begin}, {all.first_row[b]}});
      for (size_t i = 0; i < alone.size(); ++i)
        EXPECT_TRUE(at::equal(alone[i], together[i].slice(1, begin, end))) << i;
    }
    reversed.q = at::cat(q), reversed.k = at::cat(k);
    const int before = at::get_num_threads();
    at::set_num_threads(3);
    const auto backwards = run(reversed);
    at::set_num_threads(before);
    for (size_t b = 0; b + 1 < all.cu_seqlens.size(); ++b) {
      const size_t there = all.cu_seqlens.size() - 2 - b;
      for (size_t i = 0; i < backwards.size(); ++i) {
        EXPECT_TRUE(
            at::equal(together[i].slice(1, all.cu_seqlens[b], all.cu_seqlens[b + 1]),
                      backwards[i].slice(1, reversed.cu_seqlens[there], reversed.cu_seqlens[there + 1])))
            << i;
      }
    }
  }
}

TEST_P(AttentionIdentities, PaddingIsNeverRead) {
  const Shape shape{.length = 90, .num_heads = 6, .num_key_heads = 2, .ragged = true};
  const Batch packed = on_device(make_batch(shape, 26));
  const std::vector<int64_t>& cu = packed.cu_seqlens;
  const int64_t num_sequences = static_cast<int64_t>(cu.size()) - 1;
  at::Tensor q = at::full({num_sequences, 6, 90, 64}, NAN, packed.q.options());
  at::Tensor k = at::full({num_sequences, 2, 90, 64}, NAN, packed.k.options());
  std::vector<int64_t> lengths;
  for (int64_t b = 0; b < num_sequences; ++b) {
    const size_t i = static_cast<size_t>(b);
    lengths.push_back(cu[i + 1] - cu[i]);
    q[b].slice(1, 0, lengths.back()).copy_(packed.q.slice(0, cu[i], cu[i + 1]).transpose(0, 1));
    k[b].slice(1, 0, lengths.back()).copy_(packed.k.slice(0, cu[i], cu[i + 1]).transpose(0, 1));
  }
  const RowStatsOptions options{.first_row = packed.first_row, .heads = {4, 1}};
  const RowStats padded = row_stats_padded(q, k, lengths, options);
  const RowStats expected = row_stats(packed.q, packed.k, cu, options);
  for (auto value : {&RowStats::lse, &RowStats::lse_ns, &RowStats::entropy, &RowStats::norm_entropy,
                     &RowStats::distance, &RowStats::distance_ns, &RowStats::waad, &RowStats::sink_mass}) {
    ASSERT_EQ((padded.*value).sizes(), (std::vector<int64_t>{num_sequences, 2, 90}));
    for (int64_t b = 0; b < num_sequences; ++b) {
      const size_t i = static_cast<size_t>(b);
      EXPECT_TRUE(at::equal((padded.*value)[b].slice(1, 0, lengths[i]),
                            (expected.*value).slice(1, cu[i], cu[i + 1])));
      EXPECT_EQ(at::count_nonzero((padded.*value)[b].slice(1, lengths[i])).item<int64_t>(), 0);
    }
  }
  EXPECT_THROW(row_stats_padded(q, k, {91, 0, 0, 0, 0}, {}), c10::ValueError);
  EXPECT_THROW(row_stats_padded(q, k, {1}, {}), c10::ValueError);
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
