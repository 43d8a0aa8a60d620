// Long sequences against the float64 reference (label slow).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/attention_stats.h"
#include "kernels/cases.h"
#include "kernels/reference/reference.h"

namespace pan::kernels::testing {
namespace {

using LongAttention = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, LongAttention, ::testing::Values("cpu", "cuda"));

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
  constexpr int64_t kLength = 32768;
  const Shape shape{.length = kLength, .head_size = 32, .num_heads = 1, .num_key_heads = 1};
  Batch batch = make_batch(shape, 70, 0.01);
  const at::Tensor angle = at::arange(kLength, at::kDouble) * (M_PI / kLength);
  const double radius = std::sqrt(40.0 * std::sqrt(32.0));
  for (at::Tensor* x : {&batch.q, &batch.k}) {
    x->select(2, 0).select(1, 0).copy_(angle.cos() * radius);
    x->select(2, 1).select(1, 0).copy_(angle.sin() * radius);
  }
  batch.first_row = {kLength - 200};
  const Batch moved = on_device(batch);
  const RowStatsOptions options = options_of(shape, batch);
  const RowStats got = row_stats(moved.q, moved.k, moved.cu_seqlens, options);
  const RowStats expected = reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options);
  ASSERT_LT(expected.distance[0][kLength - 1].item<double>(), kLength / 4.0);
  expect_row_stats(got, expected, 50);
  EXPECT_EQ(at::count_nonzero(got.lse.slice(1, 0, kLength - 200)).item<int64_t>(), 0);
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
