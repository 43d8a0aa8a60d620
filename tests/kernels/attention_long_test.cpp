// Long sequences against the float64 reference (label slow).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention_stats.h"
#include "kernels/cases.h"
#include "kernels/reference/reference.h"

namespace pan::kernels::testing {
namespace {

using LongAttention = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, LongAttention, ::testing::ValuesIn(kernel_devices()));

void check(const Shape& shape, const Batch& batch, const Batch& moved) {
  SCOPED_TRACE(describe(shape));
  const RowStatsOptions options = options_of(shape, batch);
  expect_row_stats(row_stats(moved.q, moved.k, moved.cu_seqlens, options),
                   reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options),
                   max_score(batch, options.scale));
}

TEST_P(LongAttention, FourThousandTokens) {
  const Shape shapes[] = {
      {.length = 4099, .head_size = 64},
      {.length = 4099,
       .head_size = 128,
       .num_heads = 3,
       .num_key_heads = 1,
       .type = at::kBFloat16,
       .num_sink = 4},
      {.length = 4099,
       .head_size = 32,
       .num_heads = 1,
       .num_key_heads = 1,
       .type = at::kHalf,
       .window = 1000},
      {.length = 4099,
       .head_size = 80,
       .num_heads = 1,
       .num_key_heads = 1,
       .num_sink = 0,
       .rows = Rows::from_middle},
  };
  for (size_t i = 0; i < std::size(shapes); ++i) {
    const Batch batch = make_batch(shapes[i], 60 + i);
    expect_all_kernels(shapes[i], batch, on_device(batch));
  }
}

TEST_P(LongAttention, PairwiseCoverAtAThousandTokens) {
  const std::vector<Shape> shapes = pairwise_shapes({1000});
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Batch batch = make_batch(shapes[i], 200 + i);
    check(shapes[i], batch, on_device(batch));
    if (HasFatalFailure()) return;
  }
}

TEST_P(LongAttention, LocalHeadAtThirtyTwoThousandTokens) {
  // Positions turn slowly around two circles, so a row sees mostly its neighbourhood, tens of thousands of
  // tokens from the start: distance as t - sum p s would lose all its digits here. Rows are the last 200.
  constexpr int64_t kLength = 32768, kFirst = kLength - 200;
  constexpr double kScore = 40;
  for (at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Shape shape{.length = kLength, .head_size = 32, .num_heads = 1, .num_key_heads = 1, .type = type};
    SCOPED_TRACE(describe(shape));
    Batch batch = make_batch(shape, 70, 0.01);
    const at::Tensor angle = at::arange(kLength, at::kDouble) * (M_PI / kLength);
    const double radius = std::sqrt(kScore * std::sqrt(32.0));
    for (at::Tensor* x : {&batch.q, &batch.k}) {
      x->select(2, 0).select(1, 0).copy_(angle.cos() * radius);
      x->select(2, 1).select(1, 0).copy_(angle.sin() * radius);
    }
    batch.first_row = {kFirst};
    const Batch moved = on_device(batch);
    const RowStatsOptions options = options_of(shape, batch);
    const RowStats got = row_stats(moved.q, moved.k, moved.cu_seqlens, options);
    const RowStats expected = reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options);
    ASSERT_LT(expected.distance[0][kLength - 1].item<double>(), kLength / 4.0);
    expect_row_stats(got, expected, kScore);
    EXPECT_EQ(at::count_nonzero(got.lse.slice(1, 0, kFirst)).item<int64_t>(), 0);

    const at::Tensor fai =
        attention_fai(moved.q, moved.k, got.lse, moved.cu_seqlens, options.scale, 10, 100, moved.first_row);
    expect_within("fai", fai,
                  reference::attention_fai(batch.q, batch.k, batch.cu_seqlens, options.scale, 10, 100,
                                           batch.first_row, 0),
                  kScore);
    // The mean over a single row is a diagonal of the band.
    const at::Tensor band = attention_band(moved.q, moved.k, got.lse, moved.cu_seqlens, options.scale, 10,
                                           100, on_device(at::ones({1})));
    for (int64_t d : {10, 11, 57, 100}) {
      const at::Tensor diagonal = reference::attention_fai(batch.q, batch.k, batch.cu_seqlens, options.scale,
                                                           d, d, batch.first_row, 0);
      expect_within("band", band.select(1, d - 10).slice(0, kFirst),
                    diagonal[0].slice(0, kFirst - d, kLength - d), kScore);
    }
    std::vector<int64_t> step_of(kLength, -1);
    std::fill(step_of.begin() + kFirst, step_of.end(), 0);
    std::vector<std::vector<int64_t>> anchors(1);
    for (int64_t s = 1; s < kFirst; s += 97) anchors[0].push_back(s);
    const at::Tensor mass =
        anchor_mass(moved.q, moved.k, got.lse_ns, moved.cu_seqlens, options.scale, step_of, anchors, {0});
    expect_within("anchor_mass", mass,
                  reference::anchor_mass(batch.q, batch.k, batch.cu_seqlens, options.scale, shape.num_sink,
                                         step_of, anchors, {0}, 0),
                  kScore);
    EXPECT_GT(mass[0][kLength - 1].item<double>(), 0.005);
  }
}

TEST_P(LongAttention, RisingScoresAtThirtyTwoThousandTokens) {
  // Scores rise with the position up to 25: every tile brings a new maximum, and a row looks about a thousand
  // tokens back.
  constexpr int64_t kLength = 32768;
  const Shape shape{.length = kLength, .head_size = 32, .num_heads = 1, .num_key_heads = 1};
  Batch batch = make_batch(shape, 71, 0.01);
  batch.q.zero_();
  batch.k.zero_();
  batch.q.select(2, 0).fill_(std::sqrt(32.0f));
  batch.k.select(2, 0).select(1, 0).copy_(at::arange(kLength, at::kFloat) / 1280.0f);
  batch.first_row = {kLength - 300};
  const Batch moved = on_device(batch);
  const RowStatsOptions options = options_of(shape, batch);
  expect_row_stats(row_stats(moved.q, moved.k, moved.cu_seqlens, options),
                   reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options),
                   max_score(batch, options.scale));
}

}  // namespace
}  // namespace pan::kernels::testing
