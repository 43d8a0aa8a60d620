// The CUDA kernels on the emulation of a GPU, host code and device code, against the float64 reference, at
// small sizes.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/cases.h"
#include "kernels/reference/reference.h"

namespace pan::kernels::testing {
namespace {

RowStats emulated_row_stats(const Batch& batch, const RowStatsOptions& options) {
  return row_stats(batch.q, batch.k, batch.cu_seqlens, options);
}

struct Steps {
  std::vector<int64_t> step_of;
  std::vector<std::vector<int64_t>> anchors;
};

// Steps of 40 tokens; the anchors of a step are every third key before it, a step in five has none.
Steps steps_of(const Batch& batch, int64_t num_sink) {
  Steps steps{std::vector<int64_t>(static_cast<size_t>(batch.q.size(0)), -1), {}};
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b) {
    const int64_t begin = batch.cu_seqlens[b], length = batch.cu_seqlens[b + 1] - begin;
    for (int64_t t = num_sink + 3; t < length; t += 40) {
      std::vector<int64_t> anchors;
      for (int64_t s = num_sink; s < t && steps.anchors.size() % 5 != 4; s += 3) anchors.push_back(s);
      for (int64_t i = t; i < std::min(t + 40, length); ++i)
        steps.step_of[static_cast<size_t>(begin + i)] = static_cast<int64_t>(steps.anchors.size());
      steps.anchors.push_back(anchors);
    }
  }
  return steps;
}

void check_row_stats(const Shape& shape, const Batch& batch) {
  const RowStatsOptions options = options_of(shape, batch);
  expect_row_stats(emulated_row_stats(batch, options),
                   reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options),
                   max_score(batch, options.scale));
}

// Everything that is read off the map with its log-sum-exp.
void check_entries(const Shape& shape, const Batch& batch) {
  RowStatsOptions options = options_of(shape, batch);
  options.first_row.clear();
  const double largest = max_score(batch, options.scale);
  const RowStats rows = reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options);
  const at::Tensor lse = rows.lse.to(at::kFloat), lse_ns = rows.lse_ns.to(at::kFloat);
  at::Tensor weights = at::linspace(0.2, 1.0, shape.num_heads, at::TensorOptions(at::kFloat));
  weights[shape.num_heads / 2] = 0;
  for (const auto& [lo, hi] : {std::pair{10, 100}, std::pair{1, 3}}) {
    expect_within(
        "band",
        attention_band(batch.q, batch.k, lse, batch.cu_seqlens, options.scale, lo, hi, weights, shape.window),
        reference::attention_band(batch.q, batch.k, batch.cu_seqlens, options.scale, lo, hi, weights,
                                  shape.window),
        largest);
    expect_within("fai",
                  attention_fai(batch.q, batch.k, lse, batch.cu_seqlens, options.scale, lo, hi,
                                batch.first_row, shape.window),
                  reference::attention_fai(batch.q, batch.k, batch.cu_seqlens, options.scale, lo, hi,
                                           batch.first_row, shape.window),
                  largest);
  }
  const Steps steps = steps_of(batch, shape.num_sink);
  const std::vector<int64_t> heads{shape.num_heads - 1, 0};
  expect_within("anchor_mass",
                anchor_mass(batch.q, batch.k, lse_ns, batch.cu_seqlens, options.scale, steps.step_of,
                            steps.anchors, heads, shape.window),
                reference::anchor_mass(batch.q, batch.k, batch.cu_seqlens, options.scale, shape.num_sink,
                                       steps.step_of, steps.anchors, heads, shape.window),
                largest);
}

TEST(SimtRuntime, WhatNoKernelWroteIsNan) {
  EXPECT_TRUE(at::empty({5}, at::kFloat).isnan().all().item<bool>());
}

TEST(SimtRowStats, MatchTheReferenceOnAPairwiseCoverOfShapes) {
  const std::vector<Shape> shapes = pairwise_shapes({1, 2, 31, 32, 33, 65, 129});
  ASSERT_GE(shapes.size(), 42u);  // 7 lengths x 6 head sizes at least
  for (size_t i = 0; i < shapes.size(); ++i) {
    SCOPED_TRACE(describe(shapes[i]));
    check_row_stats(shapes[i], make_batch(shapes[i], 100 + i));
    if (HasFatalFailure()) return;
  }
}

TEST(SimtRowStats, HeadSizesBetweenTheInstantiatedOnes) {
  for (int64_t head_size : {8, 40, 72, 120, 136}) {
    const Shape shape{
        .length = 70, .head_size = head_size, .num_heads = 2, .num_key_heads = 1, .type = at::kHalf};
    SCOPED_TRACE(describe(shape));
    check_row_stats(shape, make_batch(shape, 3));
  }
}

TEST(SimtRowStats, ManyHeadsOfOneGroup) {
  for (int64_t heads : {14, 20, 33}) {
    const Shape shape{
        .length = 67, .head_size = 32, .num_heads = heads, .num_key_heads = 1, .type = at::kBFloat16};
    SCOPED_TRACE(describe(shape));
    check_row_stats(shape, make_batch(shape, 4));
  }
}

TEST(SimtRowStats, SinksThatReachIntoOtherTiles) {
  for (int64_t num_sink : {63, 64, 65, 130, 400}) {
    for (int64_t window : {0, 90}) {
      const Shape shape{.length = 210,
                        .head_size = 64,
                        .num_heads = 1,
                        .num_key_heads = 1,
                        .type = at::kBFloat16,
                        .num_sink = num_sink,
                        .window = window};
      SCOPED_TRACE(describe(shape));
      check_row_stats(shape, make_batch(shape, 5));
    }
  }
}

TEST(SimtRowStats, ChosenHeadsInTheOrderAsked) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Shape shape{.length = 131, .num_heads = 12, .num_key_heads = 3, .type = type, .ragged = true};
    const Batch batch = make_batch(shape, 11);
    for (const std::vector<int64_t>& heads :
         {std::vector<int64_t>{7}, std::vector<int64_t>{11, 0, 5, 1}, std::vector<int64_t>{4, 4, 2}}) {
      RowStatsOptions options = options_of(shape, batch);
      options.heads = heads;
      expect_row_stats(emulated_row_stats(batch, options),
                       reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options), 50);
    }
  }
}

TEST(SimtRowStats, WhatIsNotSelectedIsNotComputedAndChangesNothing) {
  const Shape shape{.length = 130, .num_heads = 3, .num_key_heads = 1, .type = at::kBFloat16};
  const Batch batch = make_batch(shape, 3);
  const RowStats expected =
      reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options_of(shape, batch));
  struct Field {
    const char* name;
    bool RowStatsSelect::*wanted;
    at::Tensor RowStats::*value;
  };
  const Field fields[] = {{"lse", &RowStatsSelect::lse, &RowStats::lse},
                          {"lse_ns", &RowStatsSelect::lse, &RowStats::lse_ns},
                          {"entropy", &RowStatsSelect::entropy, &RowStats::entropy},
                          {"norm_entropy", &RowStatsSelect::norm_entropy, &RowStats::norm_entropy},
                          {"distance", &RowStatsSelect::distance, &RowStats::distance},
                          {"distance_ns", &RowStatsSelect::distance_ns, &RowStats::distance_ns},
                          {"waad", &RowStatsSelect::waad, &RowStats::waad},
                          {"sink_mass", &RowStatsSelect::sink_mass, &RowStats::sink_mass}};
  for (const Field& chosen : fields) {
    RowStatsOptions options = options_of(shape, batch);
    options.select = {false, false, false, false, false, false, false};
    options.select.*chosen.wanted = true;
    const RowStats one = emulated_row_stats(batch, options);
    expect_within(chosen.name, one.*chosen.value, expected.*chosen.value, 50);
  }
}

// With the pairwise cover, which takes all sums, these are all kernels that a GPU is sent.
TEST(SimtRowStats, EntropiesAloneAndWaadAloneAtEveryHeadSize) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (int64_t head_size : {32, 64, 80, 96, 128, 256}) {
      const Shape shape{
          .length = 100, .head_size = head_size, .num_heads = 2, .num_key_heads = 1, .type = type};
      SCOPED_TRACE(describe(shape));
      const Batch batch = make_batch(shape, 14);
      RowStatsOptions options = options_of(shape, batch);
      const RowStats expected = reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options);
      options.select = {true, true, true, false, false, false, false};
      const RowStats entropies = emulated_row_stats(batch, options);
      expect_within("lse", entropies.lse, expected.lse, 50);
      expect_within("lse_ns", entropies.lse_ns, expected.lse_ns, 50);
      expect_within("entropy", entropies.entropy, expected.entropy, 50);
      expect_within("norm_entropy", entropies.norm_entropy, expected.norm_entropy, 50);
      options.select = {false, false, false, false, false, true, false};
      expect_within("waad", emulated_row_stats(batch, options).waad, expected.waad, 50);
    }
  }
}

TEST(SimtRowStats, RowsDoNotDependOnOtherSequencesBitForBit) {
  const Shape shape{.length = 129, .num_heads = 3, .num_key_heads = 1, .type = at::kBFloat16, .ragged = true};
  const Batch all = make_batch(shape, 8);
  const RowStats together = emulated_row_stats(all, options_of(shape, all));
  for (size_t b = 0; b + 1 < all.cu_seqlens.size(); ++b) {
    const int64_t begin = all.cu_seqlens[b], end = all.cu_seqlens[b + 1];
    if (begin == end) continue;
    const Batch one{
        all.q.slice(0, begin, end), all.k.slice(0, begin, end), {0, end - begin}, {all.first_row[b]}};
    const RowStats alone = emulated_row_stats(one, options_of(shape, one));
    EXPECT_TRUE(at::equal(alone.entropy, together.entropy.slice(1, begin, end)));
    EXPECT_TRUE(at::equal(alone.distance_ns, together.distance_ns.slice(1, begin, end)));
  }
}

TEST(SimtEntries, MatchTheReferenceOnAPairwiseCoverOfShapes) {
  const std::vector<Shape> shapes = pairwise_shapes({1, 2, 33, 65, 129});
  for (size_t i = 0; i < shapes.size(); ++i) {
    SCOPED_TRACE(describe(shapes[i]));
    check_entries(shapes[i], make_batch(shapes[i], 300 + i));
    if (HasFatalFailure()) return;
  }
}

TEST(SimtEntries, BoundsOfFaiFarBeyondTheSequence) {
  const Shape shape{.length = 40, .head_size = 32, .num_heads = 1, .num_key_heads = 1};
  const Batch batch = make_batch(shape, 13);
  const RowStatsOptions options = options_of(shape, batch);
  const at::Tensor lse = reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options).lse.to(at::kFloat);
  for (const auto& [lo, hi] : {std::pair{0, 0x7fffffff}, std::pair{0x7ffffff0, 0x7fffffff}}) {
    expect_within(
        "fai",
        attention_fai(batch.q, batch.k, lse, batch.cu_seqlens, options.scale, lo, hi, batch.first_row, 0),
        reference::attention_fai(batch.q, batch.k, batch.cu_seqlens, options.scale, lo, hi, batch.first_row,
                                 0),
        50);
  }
}

TEST(SimtEntries, LongEnoughForSeveralTiles) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Shape shape{.length = 300, .head_size = 64, .num_heads = 2, .num_key_heads = 1, .type = type};
    check_entries(shape, make_batch(shape, 12));
  }
}

}  // namespace
}  // namespace pan::kernels::testing
