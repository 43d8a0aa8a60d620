// The device code of kernels/cuda/device on the emulation, against the float64 reference, at small sizes.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cases.h"
#include "kernels/cuda/tasks.h"
#include "kernels/decode_attention.h"
#include "kernels/reference/reference.h"
#include "kernels/simt_launch.h"
#include "support/simt.h"

namespace pan::kernels::testing {
namespace {

constexpr double kLog2E = 1.4426950408889634;

// run(element of the device code) for the type of a tensor.
template <class Run>
auto for_type(at::ScalarType type, Run run) {
  if (type == at::kBFloat16) return run(device::Bf16());
  if (type == at::kHalf) return run(device::Fp16());
  return run(float());
}

device::Packed packed(const at::Tensor& x) { return {x.const_data_ptr(), x.stride(0), x.stride(1)}; }

device::Heads heads_of(const at::Tensor& q, const at::Tensor& k, double scale) {
  return {packed(q), packed(k), static_cast<int32_t>(q.size(2)), static_cast<int32_t>(q.size(1) / k.size(1)),
          static_cast<float>(scale * kLog2E)};
}

int32_t narrow(int64_t x) { return static_cast<int32_t>(x); }

// Host code's part of the calls of kernels/attention_stats.h.
RowStats emulated_row_stats(const Batch& batch, const RowStatsOptions& o) {
  return for_type(batch.q.scalar_type(), [&](auto element) {
    using T = decltype(element);
    device::RowStatsJob job{.heads = heads_of(batch.q, batch.k, o.scale),
                            .tasks = nullptr,
                            .slots = nullptr,
                            .num_tokens = batch.q.size(0),
                            .num_sink = narrow(o.num_sink),
                            .waad_window = narrow(o.waad_window),
                            .sliding_window = narrow(o.sliding_window),
                            .out = {}};
    const cuda::RowSlots slots = cuda::row_slots(o.heads, batch.q.size(1), job.heads.group);
    std::vector<int64_t> first_row = o.first_row;
    first_row.resize(batch.cu_seqlens.size() - 1, 0);
    RowStats out;
    auto make = [&](bool wanted, device::Statistic which, at::Tensor& tensor) {
      if (!wanted) return;
      tensor = at::zeros({static_cast<int64_t>(slots.slots.size()), batch.q.size(0)}, at::kFloat);
      job.out[which] = tensor.data_ptr<float>();
    };
    make(o.select.lse, device::kLse, out.lse);
    make(o.select.lse, device::kLseNs, out.lse_ns);
    make(o.select.entropy, device::kEntropy, out.entropy);
    make(o.select.norm_entropy, device::kNormEntropy, out.norm_entropy);
    make(o.select.distance, device::kDistance, out.distance);
    make(o.select.distance_ns, device::kDistanceNs, out.distance_ns);
    make(o.select.waad, device::kWaad, out.waad);
    make(o.select.sink_mass, device::kSinkMass, out.sink_mass);
    const auto tasks = cuda::row_tasks(batch.cu_seqlens, first_row, slots,
                                       Emulated<T>::row_stats_positions(job.heads.head_size, slots.most));
    job.tasks = tasks.data();
    job.slots = slots.slots.data();
    Emulated<T>::row_stats(job, narrow(static_cast<int64_t>(tasks.size())));
    return out;
  });
}

at::Tensor emulated_band(const Batch& batch, const at::Tensor& lse, double scale, int lo, int hi,
                         const at::Tensor& weights, int64_t window) {
  return for_type(batch.q.scalar_type(), [&](auto element) {
    using T = decltype(element);
    at::Tensor out = at::full({batch.q.size(0), hi - lo + 1}, NAN, at::kFloat);  // every entry is written
    const auto tasks = cuda::band_tasks(batch.cu_seqlens);
    Emulated<T>::band({.heads = heads_of(batch.q, batch.k, scale),
                       .tasks = tasks.data(),
                       .num_tokens = batch.q.size(0),
                       .num_heads = narrow(batch.q.size(1)),
                       .lo = lo,
                       .hi = hi,
                       .sliding_window = narrow(window),
                       .lse = lse.const_data_ptr<float>(),
                       .head_weights = weights.const_data_ptr<float>(),
                       .out = out.data_ptr<float>()},
                      narrow(static_cast<int64_t>(tasks.size())));
    return out;
  });
}

at::Tensor emulated_fai(const Batch& batch, const at::Tensor& lse, double scale, int lo, int hi,
                        int64_t window) {
  return for_type(batch.q.scalar_type(), [&](auto element) {
    using T = decltype(element);
    at::Tensor out = at::full({batch.q.size(1), batch.q.size(0)}, NAN, at::kFloat);
    const auto tasks = cuda::fai_tasks(batch.cu_seqlens, batch.first_row);
    Emulated<T>::fai({.heads = heads_of(batch.q, batch.k, scale),
                      .tasks = tasks.data(),
                      .num_tokens = batch.q.size(0),
                      .lo = lo,
                      .hi = hi,
                      .sliding_window = narrow(window),
                      .lse = lse.const_data_ptr<float>(),
                      .out = out.data_ptr<float>()},
                     narrow(static_cast<int64_t>(tasks.size())), narrow(batch.q.size(1)));
    return out;
  });
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

at::Tensor emulated_anchor_mass(const Batch& batch, const at::Tensor& lse_ns, double scale,
                                const Steps& steps, const std::vector<int32_t>& heads, int64_t window) {
  return for_type(batch.q.scalar_type(), [&](auto element) {
    using T = decltype(element);
    at::Tensor out = at::zeros({static_cast<int64_t>(heads.size()), batch.q.size(0)}, at::kFloat);
    const auto [tasks, keys] = cuda::anchor_tasks(batch.cu_seqlens, steps.step_of, steps.anchors);
    Emulated<T>::anchor({.heads = heads_of(batch.q, batch.k, scale),
                         .tasks = tasks.data(),
                         .anchors = keys.data(),
                         .head_of = heads.data(),
                         .num_tokens = batch.q.size(0),
                         .sliding_window = narrow(window),
                         .lse_ns = lse_ns.const_data_ptr<float>(),
                         .out = out.data_ptr<float>()},
                        narrow(static_cast<int64_t>(tasks.size())),
                        narrow(static_cast<int64_t>(heads.size())));
    return out;
  });
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
    expect_within("band", emulated_band(batch, lse, options.scale, lo, hi, weights, shape.window),
                  reference::attention_band(batch.q, batch.k, batch.cu_seqlens, options.scale, lo, hi,
                                            weights, shape.window),
                  largest);
    expect_within("fai", emulated_fai(batch, lse, options.scale, lo, hi, shape.window),
                  reference::attention_fai(batch.q, batch.k, batch.cu_seqlens, options.scale, lo, hi,
                                           batch.first_row, shape.window),
                  largest);
  }
  const Steps steps = steps_of(batch, shape.num_sink);
  const std::vector<int64_t> heads{shape.num_heads - 1, 0};
  expect_within(
      "anchor_mass",
      emulated_anchor_mass(batch, lse_ns, options.scale, steps, {heads.begin(), heads.end()}, shape.window),
      reference::anchor_mass(batch.q, batch.k, batch.cu_seqlens, options.scale, shape.num_sink, steps.step_of,
                             steps.anchors, heads, shape.window),
      largest);
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

TEST(SimtRowStats, NegativeScale) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Shape shape{.length = 100, .head_size = 64, .num_heads = 2, .num_key_heads = 1, .type = type};
    const Batch batch = make_batch(shape, 6);
    RowStatsOptions options = options_of(shape, batch);
    options.scale = -options.scale;
    expect_row_stats(emulated_row_stats(batch, options),
                     reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options), 50);
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

TEST(SimtRowStats, SinkFarAboveTheRest) {
  for (double above : {10.0, 17.0, 25.0, 110.0}) {
    for (int64_t num_sink : {0, 1, 4}) {
      const Shape shape{
          .length = 150, .num_heads = 1, .num_key_heads = 1, .type = at::kBFloat16, .num_sink = num_sink};
      SCOPED_TRACE(::testing::Message() << "sink +" << above << ", n_sink " << num_sink);
      Batch batch = make_batch(shape, 5, 1.0);
      batch.q.select(2, 0).fill_(std::sqrt(static_cast<float>(shape.head_size)));
      batch.k.select(2, 0).fill_(0);
      batch.k.select(0, 0).fill_(0);
      batch.k.select(0, 0).select(1, 0).fill_(above);
      check_row_stats(shape, batch);
    }
  }
}

TEST(SimtRowStats, EqualOneHotAndHugeScores) {
  const Shape shape{.length = 200, .num_heads = 1, .num_key_heads = 1, .type = at::kFloat, .num_sink = 1};
  Batch equal = make_batch(shape, 1);
  equal.q.fill_(3.0f);
  equal.k.fill_(0.5f);
  check_row_stats(shape, equal);
  const RowStats out = emulated_row_stats(equal, options_of(shape, equal));
  for (int64_t t : {0, 1, 2, 63, 64, 199}) {
    const double n = static_cast<double>(t) + 1;
    EXPECT_NEAR(out.entropy[0][t].item<double>(), std::log(n), 2e-5);
    EXPECT_NEAR(out.distance[0][t].item<double>(), static_cast<double>(t) / 2.0, 2e-5 * n);
  }
  Batch one_hot = make_batch(shape, 2);
  one_hot.q.fill_(0);
  one_hot.k.fill_(0);
  for (int64_t t = 0; t < shape.length; ++t) {
    one_hot.q[t][0][(t * 7) % 64] = 8.0f;
    one_hot.k[t][0][t % 64] = 600.0f;
  }
  check_row_stats(shape, one_hot);
  for (double spread : {40.0, 2000.0}) {
    for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const Shape huge{.length = 140, .num_heads = 2, .num_key_heads = 1, .type = type, .num_sink = 4};
      check_row_stats(huge, make_batch(huge, 9, spread));
    }
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
    expect_within("fai", emulated_fai(batch, lse, options.scale, lo, hi, 0),
                  reference::attention_fai(batch.q, batch.k, batch.cu_seqlens, options.scale, lo, hi,
                                           batch.first_row, 0),
                  50);
  }
}

TEST(SimtEntries, LongEnoughForSeveralTiles) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Shape shape{.length = 300, .head_size = 64, .num_heads = 2, .num_key_heads = 1, .type = type};
    check_entries(shape, make_batch(shape, 12));
  }
}

// ---- decode ----

struct DecodeShape {
  int64_t head_size, num_heads, num_key_heads, max_length, window;
  at::ScalarType type;
};

TEST(SimtDecode, MatchesTheReference) {
  const DecodeShape shapes[] = {
      {64, 9, 3, 300, 0, at::kFloat},   {64, 14, 2, 129, 0, at::kBFloat16}, {128, 4, 2, 65, 0, at::kHalf},
      {96, 3, 3, 64, 40, at::kFloat},   {80, 2, 1, 33, 0, at::kBFloat16},   {256, 2, 1, 40, 0, at::kHalf},
      {256, 1, 1, 70, 0, at::kFloat},   {32, 8, 1, 700, 0, at::kBFloat16},  {32, 17, 1, 50, 300, at::kHalf},
      {64, 2, 2, 600, 257, at::kFloat}, {72, 5, 1, 513, 0, at::kBFloat16}};
  for (const DecodeShape& s : shapes) {
    SCOPED_TRACE(::testing::Message() << s.head_size << " " << s.num_heads << "/" << s.num_key_heads << " "
                                      << s.max_length << " window " << s.window);
    at::Generator generator = at::detail::createCPUGenerator(17);
    auto normal = [&](std::vector<int64_t> sizes) {
      return (at::randn(sizes, generator, at::TensorOptions(at::kFloat)) * 1.5).to(s.type);
    };
    const std::vector<int64_t> slots{4, 0, 2, 3},
        lengths{1, s.max_length, s.max_length / 2 + 1, std::min<int64_t>(17, s.max_length)};
    const at::Tensor q = normal({4, s.num_heads, s.head_size});
    at::Tensor k = normal({5, s.num_key_heads, s.max_length, s.head_size});
    at::Tensor v = normal({5, s.num_key_heads, s.max_length, s.head_size});
    for (size_t b = 0; b < slots.size(); ++b) {
      k[slots[b]].slice(1, lengths[b]).fill_(NAN);
      v[slots[b]].slice(1, lengths[b]).fill_(NAN);
    }
    const double scale = 1 / std::sqrt(static_cast<double>(s.head_size));
    at::Tensor out = at::full(q.sizes(), NAN, q.options());
    std::vector<device::DecodeRow> rows;
    int64_t longest = 0;
    for (size_t b = 0; b < slots.size(); ++b) {
      const int64_t begin = s.window > 0 ? std::max<int64_t>(0, lengths[b] - s.window) : 0;
      rows.push_back({slots[b] * k.stride(0) + begin * k.stride(2),
                      slots[b] * v.stride(0) + begin * v.stride(2), narrow(lengths[b] - begin)});
      longest = std::max(longest, lengths[b] - begin);
    }
    const int splits = device::decode_splits(narrow(longest));
    std::vector<float> partial(static_cast<size_t>(4 * s.num_heads * splits * (s.head_size + 2)), NAN);
    const device::DecodeJob job{.q = q.const_data_ptr(),
                                .k = k.const_data_ptr(),
                                .v = v.const_data_ptr(),
                                .out = out.data_ptr(),
                                .rows = rows.data(),
                                .q_stride_row = q.stride(0),
                                .q_stride_head = q.stride(1),
                                .k_stride_head = k.stride(1),
                                .k_stride_token = k.stride(2),
                                .v_stride_head = v.stride(1),
                                .v_stride_token = v.stride(2),
                                .out_stride_row = out.stride(0),
                                .out_stride_head = out.stride(1),
                                .head_size = narrow(s.head_size),
                                .group = narrow(s.num_heads / s.num_key_heads),
                                .num_heads = narrow(s.num_heads),
                                .num_splits = splits,
                                .scale_log2 = static_cast<float>(scale * kLog2E),
                                .partial = splits > 1 ? partial.data() : nullptr};
    for_type(s.type, [&](auto element) { Emulated<decltype(element)>::decode(job, 4); });
    const at::Tensor expected =
        reference::decode_attention(q, k.nan_to_num(), v.nan_to_num(), slots, lengths, scale, s.window);
    const double bound = s.type == at::kBFloat16 ? 1.0 / 256 : (s.type == at::kHalf ? 1.0 / 2048 : 1e-5);
    const at::Tensor error = (out.to(at::kDouble) - expected).abs() / (1 + expected.abs());
    EXPECT_LE(error.max().item<double>(), bound);
  }
}

// ---- log-probability and entropy ----

TEST(SimtLogprob, ReductionAndGradientMatchTheReference) {
  struct Case {
    at::ScalarType out;  // of the gradient
    int64_t vocab, chunk, stride;
    double spread;
  };
  for (const Case& c : {Case{at::kFloat, 2200, 2200, 2200, 3}, Case{at::kFloat, 2099, 1024, 2101, 30},
                        Case{at::kBFloat16, 2100, 1024, 2104, 3}, Case{at::kFloat, 7, 3, 8, 1},
                        Case{at::kBFloat16, 2060, 2060, 2060, 8}}) {
    SCOPED_TRACE(::testing::Message() << c.vocab << " in " << c.chunk);
    constexpr int64_t kRows = 5;
    const double temperature = 0.7;
    at::Generator generator = at::detail::createCPUGenerator(3);
    const at::Tensor storage =
        (at::randn({kRows, c.stride}, generator, at::TensorOptions(at::kFloat)) * c.spread);
    const at::Tensor logits = storage.slice(1, 0, c.vocab);
    const at::Tensor targets =
        at::randint(c.vocab, {kRows}, generator, at::TensorOptions(at::kLong)).contiguous();
    const at::Tensor grad_logprob = at::randn({kRows}, generator, at::TensorOptions(at::kFloat));
    const at::Tensor grad_entropy = at::randn({kRows}, generator, at::TensorOptions(at::kFloat));
    at::Tensor state = at::full({4, kRows}, NAN, at::kFloat), logprob = at::empty({kRows}, at::kFloat),
               entropy = at::empty({kRows}, at::kFloat), lse = at::empty({kRows}, at::kFloat);
    at::Tensor gradient = at::full({kRows, c.vocab}, NAN, c.out);
    const auto out_type = c.out == at::kBFloat16 ? cuda::ElementType::bfloat16 : cuda::ElementType::float32;
    const float scale = static_cast<float>(kLog2E / temperature);
    for (int64_t begin = 0; begin < c.vocab; begin += c.chunk) {
      emulated_logprob_reduce({.logits = logits.slice(1, begin).const_data_ptr(),
                               .stride = c.stride,
                               .v_begin = begin,
                               .columns = narrow(std::min(c.chunk, c.vocab - begin)),
                               .first = begin == 0,
                               .scale_log2 = scale,
                               .targets = targets.const_data_ptr<int64_t>(),
                               .state = state.data_ptr<float>()},
                              kRows);
    }
    emulated_logprob_finish({.state = state.const_data_ptr<float>(),
                             .rows = kRows,
                             .logprob = logprob.data_ptr<float>(),
                             .entropy = entropy.data_ptr<float>(),
                             .lse = lse.data_ptr<float>()});
    for (int64_t begin = 0; begin < c.vocab; begin += c.chunk) {
      emulated_logprob_gradient(out_type,
                                {.logits = logits.slice(1, begin).const_data_ptr(),
                                 .out = gradient.slice(1, begin).data_ptr(),
                                 .stride = c.stride,
                                 .out_stride = c.vocab,
                                 .v_begin = begin,
                                 .columns = narrow(std::min(c.chunk, c.vocab - begin)),
                                 .scale_log2 = scale,
                                 .inverse_temperature = static_cast<float>(1 / temperature),
                                 .targets = targets.const_data_ptr<int64_t>(),
                                 .lse = lse.const_data_ptr<float>(),
                                 .entropy = entropy.const_data_ptr<float>(),
                                 .grad_logprob = grad_logprob.const_data_ptr<float>(),
                                 .grad_entropy = grad_entropy.const_data_ptr<float>()},
                                kRows);
    }
    // Logits are hidden states times the identity.
    const auto expected = reference::logprob_entropy(logits, at::eye(c.vocab, at::kDouble), targets,
                                                     temperature, grad_logprob, grad_entropy);
    const double largest = logits.abs().max().item<double>() / temperature;
    expect_within("lse", logprob, expected.logprob, largest);
    expect_within("entropy", entropy, expected.entropy, largest);
    const double bound = c.out == at::kBFloat16 ? 1.0 / 256 : 2e-5;
    const at::Tensor error =
        (gradient.to(at::kDouble) - expected.grad_hidden).abs() / (1 + expected.grad_hidden.abs());
    EXPECT_LE(error.max().item<double>(), bound);
  }
}

}  // namespace
}  // namespace pan::kernels::testing
