// Row statistics, band, column means and anchor mass against the float64 reference, over a pairwise cover of
// shapes.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/attention_stats.h"
#include "kernels/cases.h"
#include "kernels/reference/reference.h"

namespace pan::kernels::testing {
namespace {

using AttentionStats = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, AttentionStats, ::testing::ValuesIn(kernel_devices()));

TEST_P(AttentionStats, MatchTheReferenceOnAPairwiseCoverOfShapes) {
  const std::vector<Shape> shapes = pairwise_shapes({1, 2, 31, 32, 33, 127, 128, 129});
  ASSERT_GE(shapes.size(), 48u);  // 8 lengths x 6 head sizes at least
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Batch batch = make_batch(shapes[i], 100 + i);
    expect_all_kernels(shapes[i], batch, on_device(batch));
    if (HasFatalFailure()) return;
  }
}

TEST_P(AttentionStats, MatchTheReferenceAtAThousandTokens) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Shape shape{.length = 1000, .head_size = 64, .num_heads = 3, .num_key_heads = 1, .type = type};
    const Batch batch = make_batch(shape, 7);
    expect_all_kernels(shape, batch, on_device(batch));
  }
}

// Small enough for compute-sanitizer: every kernel of both 16-bit types.
TEST_P(AttentionStats, SmallSixteenBitCases) {
  for (at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    for (int64_t head_size : {64, 128}) {
      const Shape shape{
          .length = 70, .head_size = head_size, .num_heads = 2, .num_key_heads = 1, .type = type};
      const Batch batch = make_batch(shape, 41);
      expect_all_kernels(shape, batch, on_device(batch));
    }
  }
}

TEST_P(AttentionStats, TwoRunsGiveTheSameBits) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Shape shape{.length = 400, .num_heads = 8, .num_key_heads = 2, .type = type, .ragged = true};
    const Batch batch = on_device(make_batch(shape, 42));
    const at::Tensor weights = on_device(at::rand({8}));
    std::vector<int64_t> step_of(static_cast<size_t>(batch.q.size(0)), -1);
    for (int64_t t = 100; t < 400; ++t) step_of[static_cast<size_t>(batch.cu_seqlens[1] + t)] = 0;
    const auto run = [&] {
      const RowStats rows = row_stats(batch.q, batch.k, batch.cu_seqlens, {});
      return std::vector<at::Tensor>{
          rows.lse,
          rows.entropy,
          rows.norm_entropy,
          rows.distance,
          rows.distance_ns,
          rows.waad,
          rows.sink_mass,
          attention_band(batch.q, batch.k, rows.lse, batch.cu_seqlens, 0, 10, 100, weights),
          attention_fai(batch.q, batch.k, rows.lse, batch.cu_seqlens, 0, 10, 100, {}),
          anchor_mass(batch.q, batch.k, rows.lse_ns, batch.cu_seqlens, 0, step_of, {{1, 7, 50, 99}}, {3, 0})};
    };
    const std::vector<at::Tensor> first = run(), second = run();
    for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(at::equal(first[i], second[i])) << i;
  }
}

TEST_P(AttentionStats, OddHeadSizesAndStridedInputs) {
  for (int64_t head_size : {1, 3, 20, 33}) {
    const Shape shape{.length = 77, .head_size = head_size, .num_heads = 4, .num_key_heads = 2};
    Batch batch = make_batch(shape, 11);
    // As a slice of a fused projection: neither tokens nor heads lie back to back.
    at::Tensor fused = at::zeros({batch.q.size(0), 9, head_size + 5});
    fused.slice(1, 1, 5).slice(2, 2, 2 + head_size).copy_(batch.q);
    fused.slice(1, 6, 8).slice(2, 2, 2 + head_size).copy_(batch.k);
    Batch moved = on_device(batch);
    const at::Tensor there = on_device(fused);
    moved.q = there.slice(1, 1, 5).slice(2, 2, 2 + head_size);
    moved.k = there.slice(1, 6, 8).slice(2, 2, 2 + head_size);
    expect_all_kernels(shape, batch, moved);
  }
}

TEST_P(AttentionStats, WhatIsNotSelectedIsNotThere) {
  const Shape shape{.length = 130, .num_heads = 2, .num_key_heads = 1};
  const Batch batch = make_batch(shape, 3);
  const Batch moved = on_device(batch);
  const RowStats all = row_stats(moved.q, moved.k, moved.cu_seqlens, options_of(shape, batch));
  struct Field {
    bool RowStatsSelect::*wanted;
    at::Tensor RowStats::*value;
  };
  const Field fields[] = {{&RowStatsSelect::lse, &RowStats::lse},
                          {&RowStatsSelect::lse, &RowStats::lse_ns},
                          {&RowStatsSelect::entropy, &RowStats::entropy},
                          {&RowStatsSelect::norm_entropy, &RowStats::norm_entropy},
                          {&RowStatsSelect::distance, &RowStats::distance},
                          {&RowStatsSelect::distance_ns, &RowStats::distance_ns},
                          {&RowStatsSelect::waad, &RowStats::waad},
                          {&RowStatsSelect::sink_mass, &RowStats::sink_mass}};
  for (const Field& chosen : fields) {
    RowStatsOptions options = options_of(shape, batch);
    options.select = {false, false, false, false, false, false, false};
    options.select.*chosen.wanted = true;
    const RowStats one = row_stats(moved.q, moved.k, moved.cu_seqlens, options);
    for (const Field& field : fields) {
      ASSERT_EQ((one.*field.value).defined(), options.select.*field.wanted);
      if (!(one.*field.value).defined()) continue;
      // Not bit for bit: what else is computed decides the order of some sums.
      EXPECT_TRUE(at::allclose(one.*field.value, all.*field.value, 1e-5, 1e-6));
    }
  }
}

TEST_P(AttentionStats, ChosenHeadsAreThoseOfAllHeads) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (int64_t window : {0, 50}) {
      const Shape shape{.length = 300,
                        .num_heads = 12,
                        .num_key_heads = 3,
                        .type = type,
                        .window = window,
                        .rows = Rows::from_middle,
                        .ragged = true};
      const Batch batch = make_batch(shape, 31), moved = on_device(batch);
      RowStatsOptions options = options_of(shape, batch);
      const RowStats all = row_stats(moved.q, moved.k, moved.cu_seqlens, options);
      for (const std::vector<int64_t>& heads :
           {std::vector<int64_t>{7}, std::vector<int64_t>{11, 0, 5, 1}, std::vector<int64_t>{4, 4, 2}}) {
        options.heads = heads;
        const RowStats some = row_stats(moved.q, moved.k, moved.cu_seqlens, options);
        expect_row_stats(some, reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options), 50);
        if (!moved.q.is_cpu()) continue;
        const at::Tensor index = at::tensor(heads, at::TensorOptions(at::kLong));
        for (auto value :
             {&RowStats::lse, &RowStats::lse_ns, &RowStats::entropy, &RowStats::norm_entropy,
              &RowStats::distance, &RowStats::distance_ns, &RowStats::waad, &RowStats::sink_mass})
          EXPECT_TRUE(at::equal(some.*value, (all.*value).index_select(0, index)));
      }
      options.heads = {12};
      EXPECT_THROW(row_stats(moved.q, moved.k, moved.cu_seqlens, options), c10::ValueError);
    }
  }
}

TEST_P(AttentionStats, AnEmptyBatchIsFine) {
  const at::Tensor q = on_device(at::zeros({0, 4, 64})), k = on_device(at::zeros({0, 2, 64}));
  const RowStats out = row_stats(q, k, {0}, {});
  EXPECT_EQ(out.lse.sizes(), (std::vector<int64_t>{4, 0}));
  EXPECT_EQ(attention_fai(q, k, out.lse, {0, 0}, 0, 10, 100, {}).numel(), 0);
}

TEST_P(AttentionStats, WrongArgumentsAreValueErrors) {
  const Shape shape{.length = 20};
  const Batch b = on_device(make_batch(shape, 1));
  const std::vector<int64_t>& cu = b.cu_seqlens;
  const at::Tensor lse = on_device(at::zeros({2, 20}));
  const at::Tensor weights = on_device(at::ones({2}));
  EXPECT_THROW(row_stats(b.q.to(at::kDouble), b.k, cu, {}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k.to(at::kHalf), cu, {}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k.slice(0, 0, 19), cu, {}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q.transpose(1, 2), b.k.transpose(1, 2), cu, {}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q.repeat({1, 3, 1}), at::cat({b.k, b.k}, 1), cu, {}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k, {0, 19}, {}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k, {0, 12, 10, 20}, {}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k, cu, {.scale = -1}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k, cu, {.num_sink = -1}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k, cu, {.waad_window = 0}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k, cu, {.sliding_window = -1}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k, cu, {.first_row = {21}}), c10::ValueError);
  EXPECT_THROW(row_stats(b.q, b.k, cu, {.first_row = {0, 0}}), c10::ValueError);
  EXPECT_THROW(attention_band(b.q, b.k, lse.slice(1, 0, 19), cu, 0, 1, 5, weights), c10::ValueError);
  EXPECT_THROW(attention_band(b.q, b.k, lse, cu, 0, 5, 4, weights), c10::ValueError);
  EXPECT_THROW(attention_band(b.q, b.k, lse, cu, 0, 1, 5, weights.slice(0, 0, 1)), c10::ValueError);
  EXPECT_THROW(attention_fai(b.q, b.k, lse, cu, 0, -1, 4, {}), c10::ValueError);
  std::vector<int64_t> step_of(20, -1);
  step_of[9] = 0;
  EXPECT_NO_THROW(anchor_mass(b.q, b.k, lse, cu, 0, step_of, {{1, 8}}, {0}));
  EXPECT_THROW(anchor_mass(b.q, b.k, lse, cu, 0, step_of, {{1, 9}}, {0}), c10::ValueError);
  EXPECT_THROW(anchor_mass(b.q, b.k, lse, cu, 0, step_of, {{3, 3}}, {0}), c10::ValueError);
  EXPECT_THROW(anchor_mass(b.q, b.k, lse, cu, 0, step_of, {}, {0}), c10::ValueError);
  EXPECT_THROW(anchor_mass(b.q, b.k, lse, cu, 0, step_of, {{1}}, {2}), c10::ValueError);
}

}  // namespace
}  // namespace pan::kernels::testing
