#include "kernels/cases.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "kernels/reference/reference.h"

namespace pan::kernels::testing {
namespace {

struct Grouping {
  int64_t num_heads, num_key_heads;
};

// The dimensions of the cover.
struct Values {
  std::vector<int64_t> lengths;
  std::vector<int64_t> head_sizes{32, 64, 80, 96, 128, 256};
  std::vector<Grouping> groupings{{2, 2}, {6, 2}, {16, 2}, {8, 1}};
  std::vector<at::ScalarType> types{at::kFloat, at::kBFloat16, at::kHalf};
  std::vector<int64_t> sinks{0, 1, 4};
  std::vector<int64_t> windows{0, 1, 7, 64};
  std::vector<Rows> rows{Rows::all, Rows::from_one, Rows::last_only, Rows::from_middle};
  std::vector<bool> ragged{false, true};
};

constexpr size_t kDimensions = 8;
using Choice = std::array<size_t, kDimensions>;

std::array<size_t, kDimensions> sizes_of(const Values& v) {
  return {v.lengths.size(), v.head_sizes.size(), v.groupings.size(), v.types.size(),
          v.sinks.size(),   v.windows.size(),    v.rows.size(),      v.ragged.size()};
}

Shape shape_of(const Values& v, const Choice& c) {
  return {v.lengths[c[0]],
          v.head_sizes[c[1]],
          v.groupings[c[2]].num_heads,
          v.groupings[c[2]].num_key_heads,
          v.types[c[3]],
          v.sinks[c[4]],
          v.windows[c[5]],
          v.rows[c[6]],
          v.ragged[c[7]]};
}

// Which pairs of values are still to be met.
class Uncovered {
 public:
  explicit Uncovered(std::array<size_t, kDimensions> sizes) : sizes_(sizes) {
    for (size_t a = 0; a < kDimensions; ++a) {
      for (size_t b = 0; b < kDimensions; ++b) open_[a][b].assign(sizes[a] * sizes[b], a < b);
    }
  }
  bool is_open(size_t a, size_t value_a, size_t b, size_t value_b) const {
    return a < b ? open_[a][b][value_a * sizes_[b] + value_b] : open_[b][a][value_b * sizes_[a] + value_a];
  }
  void close(const Choice& c) {
    for (size_t a = 0; a < kDimensions; ++a) {
      for (size_t b = a + 1; b < kDimensions; ++b) open_[a][b][c[a] * sizes_[b] + c[b]] = false;
    }
  }
  bool first_open(size_t& a, size_t& value_a, size_t& b, size_t& value_b) const {
    for (a = 0; a < kDimensions; ++a) {
      for (b = a + 1; b < kDimensions; ++b) {
        for (size_t i = 0; i < open_[a][b].size(); ++i) {
          value_a = i / sizes_[b], value_b = i % sizes_[b];
          if (open_[a][b][i]) return true;
        }
      }
    }
    return false;
  }

 private:
  std::array<size_t, kDimensions> sizes_;
  std::vector<bool> open_[kDimensions][kDimensions];
};

double bound_of(const std::string& name, double reference, double factor) {
  const double r = std::abs(reference);
  if (name == "lse" || name == "lse_ns" || name == "entropy") return factor * 2e-5 * (1 + r);
  if (name == "norm_entropy" || name == "sink_mass" || name == "anchor_mass") return factor * 1e-5;
  if (name == "distance" || name == "distance_ns" || name == "waad") return factor * (2e-5 * r + 1e-5);
  if (name == "fai" || name == "band") return factor * (1e-4 * r + 1e-7);
  ADD_FAILURE() << "no bound for " << name;
  return 0;
}

}  // namespace

std::string describe(const Shape& s) {
  std::ostringstream text;
  text << "T=" << s.length << " D=" << s.head_size << " H=" << s.num_heads << "/" << s.num_key_heads << " "
       << c10::toString(s.type) << " n_sink=" << s.num_sink << " window=" << s.window
       << " rows=" << static_cast<int>(s.rows) << " ragged=" << s.ragged;
  return text.str();
}

std::vector<Shape> pairwise_shapes(const std::vector<int64_t>& lengths) {
  const Values values{.lengths = lengths};
  const auto sizes = sizes_of(values);
  Uncovered uncovered(sizes);
  std::vector<Shape> shapes;
  size_t a, value_a, b, value_b;
  while (uncovered.first_open(a, value_a, b, value_b)) {
    Choice choice{};
    std::vector<size_t> fixed{a, b};
    choice[a] = value_a, choice[b] = value_b;
    for (size_t d = 0; d < kDimensions; ++d) {
      if (d == a || d == b) continue;
      size_t best = 0, best_gain = 0;
      for (size_t i = 0; i < sizes[d]; ++i) {
        // Ties go round, so that values without open pairs are not always the first.
        const size_t value = (i + shapes.size()) % sizes[d];
        size_t gain = 1;
        for (size_t f : fixed) gain += uncovered.is_open(d, value, f, choice[f]);
        if (gain > best_gain) best = value, best_gain = gain;
      }
      choice[d] = best;
      fixed.push_back(d);
    }
    uncovered.close(choice);
    shapes.push_back(shape_of(values, choice));
  }
  return shapes;
}

Batch make_batch(const Shape& shape, uint64_t seed, double spread) {
  std::vector<int64_t> lengths{shape.length};
  if (shape.ragged) lengths = {3, shape.length, 0, shape.length / 2 + 1, 1};
  Batch batch;
  batch.cu_seqlens = {0};
  for (int64_t length : lengths) {
    batch.cu_seqlens.push_back(batch.cu_seqlens.back() + length);
    int64_t first = 0;
    if (shape.rows == Rows::from_one) first = std::min<int64_t>(1, length);
    if (shape.rows == Rows::last_only) first = std::max<int64_t>(0, length - 1);
    if (shape.rows == Rows::from_middle) first = length / 2;
    batch.first_row.push_back(first);
  }
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const int64_t n = batch.cu_seqlens.back();
  auto normal = [&](int64_t heads) {
    return at::randn({n, heads, shape.head_size}, generator, at::TensorOptions(at::kFloat)) *
           std::sqrt(spread);
  };
  batch.q = normal(shape.num_heads).to(shape.type);
  batch.k = normal(shape.num_key_heads).to(shape.type);
  return batch;
}

RowStatsOptions options_of(const Shape& shape, const Batch& batch) {
  RowStatsOptions options;
  options.scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
  options.num_sink = shape.num_sink;
  options.sliding_window = shape.window;
  options.first_row = batch.first_row;
  return options;
}

double max_score(const Batch& batch, double scale) {
  double largest = 0;
  const int64_t group = batch.q.size(1) / batch.k.size(1);
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b) {
    const int64_t begin = batch.cu_seqlens[b], end = batch.cu_seqlens[b + 1];
    if (begin == end) continue;
    for (int64_t head = 0; head < batch.q.size(1); ++head) {
      const at::Tensor q = batch.q.slice(0, begin, end).select(1, head).to(at::kFloat);
      const at::Tensor k = batch.k.slice(0, begin, end).select(1, head / group).to(at::kFloat);
      largest = std::max(largest, scale * at::mm(q, k.t()).abs().max().item<double>());
    }
  }
  return largest;
}

void expect_within(const std::string& name, const at::Tensor& got, const at::Tensor& expected,
                   double largest_score) {
  ASSERT_TRUE(got.defined()) << name;
  ASSERT_EQ(got.sizes(), expected.sizes()) << name;
  ASSERT_EQ(got.scalar_type(), at::kFloat) << name;
  const at::Tensor a = got.cpu().contiguous(), b = expected.cpu().contiguous();
  const float* x = a.const_data_ptr<float>();
  const double* y = b.const_data_ptr<double>();
  const double factor = std::max(1.0, largest_score / 50);
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (std::isinf(y[i])) {
      ASSERT_EQ(static_cast<double>(x[i]), y[i]) << name << " at " << i << " of " << a.sizes();
      continue;
    }
    // Written so that NaN fails.
    ASSERT_TRUE(std::abs(x[i] - y[i]) <= bound_of(name, y[i], factor))
        << name << " at " << i << " of " << a.sizes() << ": got " << x[i] << ", expected " << y[i]
        << ", bound " << bound_of(name, y[i], factor);
  }
}

void expect_row_stats(const RowStats& got, const RowStats& expected, double largest_score) {
  expect_within("lse", got.lse, expected.lse, largest_score);
  expect_within("lse_ns", got.lse_ns, expected.lse_ns, largest_score);
  expect_within("entropy", got.entropy, expected.entropy, largest_score);
  expect_within("norm_entropy", got.norm_entropy, expected.norm_entropy, largest_score);
  expect_within("distance", got.distance, expected.distance, largest_score);
  expect_within("distance_ns", got.distance_ns, expected.distance_ns, largest_score);
  expect_within("waad", got.waad, expected.waad, largest_score);
  expect_within("sink_mass", got.sink_mass, expected.sink_mass, largest_score);
}

void expect_all_kernels(const Shape& shape, const Batch& batch, const Batch& moved) {
  SCOPED_TRACE(describe(shape));
  const RowStatsOptions options = options_of(shape, batch);
  const double largest = max_score(batch, options.scale);

  const RowStats got = row_stats(moved.q, moved.k, moved.cu_seqlens, options);
  const RowStats expected = reference::row_stats(batch.q, batch.k, batch.cu_seqlens, options);
  expect_row_stats(got, expected, largest);
  if (::testing::Test::HasFatalFailure()) return;

  // The band and its like need the log-sum-exp of every row.
  RowStatsOptions all_rows = options;
  all_rows.first_row = {};
  all_rows.select = {true, false, false, false, false, false, false};
  const RowStats lse = row_stats(moved.q, moved.k, moved.cu_seqlens, all_rows);
  const int64_t lo = 3, hi = 40;
  at::Tensor weights = at::full({shape.num_heads}, 1.0 / static_cast<double>(shape.num_heads), at::kFloat);
  weights[0] = 0;
  expect_within("band",
                attention_band(moved.q, moved.k, lse.lse, moved.cu_seqlens, options.scale, lo, hi,
                               weights.to(moved.q.device()), shape.window),
                reference::attention_band(batch.q, batch.k, batch.cu_seqlens, options.scale, lo, hi, weights,
                                          shape.window),
                largest);
  expect_within("fai",
                attention_fai(moved.q, moved.k, lse.lse, moved.cu_seqlens, options.scale, lo, hi,
                              moved.first_row, shape.window),
                reference::attention_fai(batch.q, batch.k, batch.cu_seqlens, options.scale, lo, hi,
                                         batch.first_row, shape.window),
                largest);

  // Steps of 20 tokens from position 7 on, every third key before the step as an anchor, sinks left out.
  std::vector<int64_t> step_of(static_cast<size_t>(batch.q.size(0)), -1);
  std::vector<std::vector<int64_t>> anchors;
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b) {
    const int64_t length = batch.cu_seqlens[b + 1] - batch.cu_seqlens[b];
    for (int64_t begin = 7; begin < length; begin += 20) {
      for (int64_t t = begin; t < std::min(begin + 20, length); ++t) {
        step_of[batch.cu_seqlens[b] + t] = static_cast<int64_t>(anchors.size());
      }
      anchors.emplace_back();
      for (int64_t s = shape.num_sink; s < begin; s += 3) anchors.back().push_back(s);
    }
  }
  const std::vector<int64_t> heads{shape.num_heads - 1, 0};
  expect_within("anchor_mass",
                anchor_mass(moved.q, moved.k, lse.lse_ns, moved.cu_seqlens, options.scale, step_of, anchors,
                            heads, shape.window),
                reference::anchor_mass(batch.q, batch.k, batch.cu_seqlens, options.scale, shape.num_sink,
                                       step_of, anchors, heads, shape.window),
                largest);
}

void DeviceTest::SetUp() {
  if (std::string(GetParam()) != "cpu" && !at::hasCUDA())
    GTEST_SKIP() << "no CUDA device in this build or machine";
}

}  // namespace pan::kernels::testing
