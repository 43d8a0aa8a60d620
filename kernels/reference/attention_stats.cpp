#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/reference.h"

namespace pan::kernels::reference {
namespace {

constexpr double kMinusInf = -std::numeric_limits<double>::infinity();

// Scores of one packed batch, key by key.
class Scores {
 public:
  Scores(const at::Tensor& q, const at::Tensor& k, double scale)
      : q_(q.to(at::kDouble).contiguous()),
        k_(k.to(at::kDouble).contiguous()),
        group_(q.size(1) / k.size(1)),
        scale_(scale) {}

  // S of the query of packed token n and the key of packed token m.
  double operator()(int64_t head, int64_t n, int64_t m) const {
    const int64_t size = q_.size(2);
    const double* a = q_.const_data_ptr<double>() + (n * q_.size(1) + head) * size;
    const double* b = k_.const_data_ptr<double>() + (m * k_.size(1) + head / group_) * size;
    double sum[4] = {0, 0, 0, 0};
    for (int64_t d = 0; d < size; ++d) sum[d % 4] += a[d] * b[d];
    return scale_ * (sum[0] + sum[1] + sum[2] + sum[3]);
  }

 private:
  at::Tensor q_, k_;
  int64_t group_;
  double scale_;
};

int64_t first_visible(int64_t t, int64_t window) {
  return window > 0 ? std::max<int64_t>(0, t - window + 1) : 0;
}

// Row t of one head: A over keys [first, t], and its log-sum-exp.
struct Row {
  int64_t first;
  std::vector<double> log_a;
  double lse;
};

Row softmax_row(const Scores& scores, int64_t head, int64_t begin, int64_t t, int64_t first) {
  Row row{first, {}, kMinusInf};
  double max = kMinusInf;
  for (int64_t s = first; s <= t; ++s) {
    row.log_a.push_back(scores(head, begin + t, begin + s));
    max = std::max(max, row.log_a.back());
  }
  double sum = 0;
  for (double x : row.log_a) sum += std::exp(x - max);
  if (!row.log_a.empty()) row.lse = max + std::log(sum);
  for (double& x : row.log_a) x = (x - max) - std::log(sum);
  return row;
}

double entropy_of(const Row& row) {
  double entropy = 0;
  for (double x : row.log_a) entropy -= std::exp(x) * x;
  return entropy;
}

// Sum of A min(t - s, limit).
double distance_of(const Row& row, int64_t t, int64_t limit) {
  double sum = 0;
  for (size_t i = 0; i < row.log_a.size(); ++i) {
    sum += std::exp(row.log_a[i]) *
           static_cast<double>(std::min(t - row.first - static_cast<int64_t>(i), limit));
  }
  return sum;
}

// Calls visit(sequence's begin, position t, sequence index) for every row.
template <class Visit>
void for_rows(const std::vector<int64_t>& cu, const std::vector<int64_t>& first_row, Visit visit) {
  for (size_t b = 0; b + 1 < cu.size(); ++b) {
    for (int64_t t = first_row.empty() ? 0 : first_row[b]; t < cu[b + 1] - cu[b]; ++t) visit(cu[b], t, b);
  }
}

}  // namespace

RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu,
                   const RowStatsOptions& o) {
  const Scores scores(q, k, o.scale);
  RowStats out;
  std::vector<int64_t> heads = o.heads;
  for (int64_t head = 0; o.heads.empty() && head < q.size(1); ++head) heads.push_back(head);
  at::Tensor* all[] = {&out.lse,      &out.lse_ns,      &out.entropy, &out.norm_entropy,
                       &out.distance, &out.distance_ns, &out.waad,    &out.sink_mass};
  double* data[8];
  for (int i = 0; i < 8; ++i) {
    *all[i] = at::zeros({static_cast<int64_t>(heads.size()), q.size(0)}, at::kDouble);
    data[i] = all[i]->data_ptr<double>();
  }
  constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < heads.size(); ++i) {
    const int64_t head = heads[i];
    for_rows(cu, o.first_row, [&](int64_t begin, int64_t t, size_t) {
      const int64_t at = static_cast<int64_t>(i) * q.size(0) + begin + t;
      const int64_t first = first_visible(t, o.sliding_window);
      const Row row = softmax_row(scores, head, begin, t, first);
      const Row ns = softmax_row(scores, head, begin, t, std::max(first, o.num_sink));
      const double num_keys = static_cast<double>(ns.log_a.size());
      double sink = 0;
      for (int64_t s = first; s < std::min(o.num_sink, t + 1); ++s) sink += std::exp(row.log_a[s - first]);
      data[0][at] = row.lse;
      data[1][at] = ns.lse;
      data[2][at] = entropy_of(row);
      data[3][at] = num_keys < 2 ? 0 : entropy_of(ns) / std::log(num_keys);
      data[4][at] = distance_of(row, t, kNoLimit);
      data[5][at] = distance_of(ns, t, kNoLimit);
      data[6][at] = distance_of(row, t, o.waad_window);
      data[7][at] = sink;
    });
  }
  return out;
}

at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu,
                          double scale, int64_t lo, int64_t hi, const at::Tensor& head_weights,
                          int64_t window) {
  const Scores scores(q, k, scale);
  at::Tensor out = at::zeros({q.size(0), hi - lo + 1}, at::kDouble);
  for (int64_t head = 0; head < q.size(1); ++head) {
    const double weight = head_weights[head].item<float>();
    if (weight == 0) continue;
    for_rows(cu, {}, [&](int64_t begin, int64_t t, size_t) {
      const Row row = softmax_row(scores, head, begin, t, first_visible(t, window));
      double* band = out.data_ptr<double>() + (begin + t) * (hi - lo + 1);
      for (int64_t d = lo; d <= hi && t - d >= row.first; ++d) {
        band[d - lo] += weight * std::exp(row.log_a[t - d - row.first]);
      }
    });
  }
  return out;
}

at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu,
                         double scale, int64_t lo, int64_t hi, const std::vector<int64_t>& first_row,
                         int64_t window) {
  const Scores scores(q, k, scale);
  at::Tensor out = at::zeros({q.size(1), q.size(0)}, at::kDouble);
  for (int64_t head = 0; head < q.size(1); ++head) {
    double* sum = out.data_ptr<double>() + head * q.size(0);
    for_rows(cu, first_row, [&](int64_t begin, int64_t t, size_t) {
      const Row row = softmax_row(scores, head, begin, t, first_visible(t, window));
      for (int64_t s = std::max(row.first, t - hi); s <= t - lo; ++s)
        sum[begin + s] += std::exp(row.log_a[s - row.first]);
    });
    for (size_t b = 0; b + 1 < cu.size(); ++b) {
      const int64_t length = cu[b + 1] - cu[b], first = first_row.empty() ? 0 : first_row[b];
      for (int64_t s = 0; s < length; ++s) {
        const int64_t rows = std::min(length - 1, s + hi) - std::max(first, s + lo) + 1;
        if (rows > 0) sum[cu[b] + s] /= static_cast<double>(rows);
      }
    }
  }
  return out;
}

at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu, double scale,
                       int64_t num_sink, const std::vector<int64_t>& step_of,
                       const std::vector<std::vector<int64_t>>& anchors, const std::vector<int64_t>& heads,
                       int64_t window) {
  const Scores scores(q, k, scale);
  at::Tensor out = at::zeros({static_cast<int64_t>(heads.size()), q.size(0)}, at::kDouble);
  for (size_t i = 0; i < heads.size(); ++i) {
    for_rows(cu, {}, [&](int64_t begin, int64_t t, size_t) {
      const int64_t step = step_of[begin + t];
      if (step < 0) return;
      const Row ns = softmax_row(scores, heads[i], begin, t, std::max(first_visible(t, window), num_sink));
      double mass = 0;
      for (int64_t s : anchors[step]) {
        if (s >= ns.first) mass += std::exp(ns.log_a[s - ns.first]);
      }
      out.data_ptr<double>()[static_cast<int64_t>(i) * q.size(0) + begin + t] = mass;
    });
  }
  return out;
}

at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                            const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                            double scale, int64_t window) {
  at::Tensor out = at::zeros(q.sizes(), at::kDouble);
  const int64_t group = q.size(1) / k_cache.size(1), size = q.size(2);
  for (size_t b = 0; b < slots.size(); ++b) {
    const int64_t row = static_cast<int64_t>(b);
    for (int64_t head = 0; head < q.size(1); ++head) {
      at::Tensor k = k_cache[slots[b]][head / group].to(at::kDouble).contiguous();  // [Tmax, D]
      at::Tensor v = v_cache[slots[b]][head / group].to(at::kDouble).contiguous();
      const Scores scores(q[row][head].view({1, 1, size}).expand({k.size(0), 1, size}), k.unsqueeze(1),
                          scale);
      const int64_t last = lengths[b] - 1;
      const Row a = softmax_row(scores, 0, 0, last, first_visible(last, window));
      for (size_t j = 0; j < a.log_a.size(); ++j) {
        out[row][head] += std::exp(a.log_a[j]) * v[a.first + static_cast<int64_t>(j)];
      }
    }
  }
  return out;
}

}  // namespace pan::kernels::reference
