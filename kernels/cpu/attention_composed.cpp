// Composed form: plain ATen, one sequence at a time, the whole map in memory.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "kernels/dispatch.h"

namespace pan::kernels::cpu {
namespace {

constexpr double kMinusInf = -std::numeric_limits<double>::infinity();

// Scores of sequence [begin, end): [H, T, T] float32, -inf where a key is not visible.
at::Tensor scores(const at::Tensor& q, const at::Tensor& k, int64_t begin, int64_t end, double scale,
                  int64_t window) {
  const int64_t group = q.size(1) / k.size(1);
  at::Tensor qs = q.slice(0, begin, end).transpose(0, 1).to(at::kFloat);
  at::Tensor ks = k.slice(0, begin, end).transpose(0, 1).to(at::kFloat).repeat_interleave(group, 0);
  at::Tensor s = at::matmul(qs * scale, ks.transpose(1, 2));
  at::Tensor visible = at::ones({end - begin, end - begin}, at::kBool).tril();
  if (window > 0) visible = visible.triu(1 - window);
  return s.masked_fill_(visible.logical_not(), kMinusInf);
}

at::Tensor entropy_of(const at::Tensor& logp) { return -(logp.exp() * logp).nan_to_num(0.0).sum(-1); }

}  // namespace

RowStats row_stats_composed(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu,
                            const RowStatsOptions& o) {
  const std::vector<int64_t> shape = {q.size(1), q.size(0)};
  RowStats out;
  auto make = [&](bool wanted) { return wanted ? at::zeros(shape, at::kFloat) : at::Tensor(); };
  out.lse = make(o.select.lse), out.lse_ns = make(o.select.lse);
  out.entropy = make(o.select.entropy), out.norm_entropy = make(o.select.norm_entropy);
  out.distance = make(o.select.distance), out.distance_ns = make(o.select.distance_ns);
  out.waad = make(o.select.waad), out.sink_mass = make(o.select.sink_mass);
  for (size_t b = 0; b + 1 < cu.size(); ++b) {
    const int64_t length = cu[b + 1] - cu[b], first = o.first_row[b], sink = std::min(o.num_sink, length);
    if (first == length) continue;
    auto put = [&](at::Tensor& into, const at::Tensor& value) {
      if (into.defined()) into.slice(1, cu[b] + first, cu[b + 1]).copy_(value.slice(1, first));
    };
    at::Tensor s = scores(q, k, cu[b], cu[b + 1], o.scale, o.sliding_window);
    at::Tensor t = at::arange(length, at::kFloat);
    at::Tensor dist = (t.unsqueeze(1) - t).clamp_min(0);
    at::Tensor lse = s.logsumexp(-1, true), p = (s - lse).exp();
    put(out.lse, lse.squeeze(-1));
    put(out.entropy, entropy_of(s - lse));
    put(out.distance, (p * dist).sum(-1));
    put(out.waad, (p * dist.clamp_max(static_cast<double>(o.waad_window))).sum(-1));
    put(out.sink_mass, p.slice(2, 0, sink).sum(-1));
    at::Tensor ns = s.slice(2, sink), lse_ns = ns.logsumexp(-1, true), logp = ns - lse_ns;
    at::Tensor keys = at::isfinite(ns).sum(-1).to(at::kFloat);
    put(out.lse_ns, lse_ns.squeeze(-1));
    at::Tensor p_ns = logp.exp().nan_to_num(0.0);
    put(out.distance_ns, (p_ns * dist.slice(1, sink)).sum(-1));
    put(out.norm_entropy,
        at::where(keys >= 2, entropy_of(logp) / keys.clamp_min(2).log(), at::zeros({}, at::kFloat)));
  }
  return out;
}

at::Tensor attention_band_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                                   const std::vector<int64_t>& cu, double scale, int64_t lo, int64_t hi,
                                   const at::Tensor& head_weights, int64_t window) {
  at::Tensor out = at::zeros({q.size(0), hi - lo + 1}, at::kFloat);
  for (size_t b = 0; b + 1 < cu.size(); ++b) {
    if (cu[b] == cu[b + 1]) continue;
    at::Tensor a =
        (scores(q, k, cu[b], cu[b + 1], scale, window) - lse.slice(1, cu[b], cu[b + 1]).unsqueeze(-1)).exp();
    at::Tensor mean = (a * head_weights.view({-1, 1, 1})).sum(0);
    for (int64_t d = lo; d <= hi && d < mean.size(0); ++d) {
      out.slice(0, cu[b] + d, cu[b + 1]).select(1, d - lo).copy_(mean.diagonal(-d));
    }
  }
  return out;
}

at::Tensor attention_fai_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                                  const std::vector<int64_t>& cu, double scale, int64_t lo, int64_t hi,
                                  const std::vector<int64_t>& first_row, int64_t window) {
  at::Tensor out = at::zeros({q.size(1), q.size(0)}, at::kFloat);
  for (size_t b = 0; b + 1 < cu.size(); ++b) {
    const int64_t length = cu[b + 1] - cu[b];
    if (first_row[b] == length) continue;
    at::Tensor a =
        (scores(q, k, cu[b], cu[b + 1], scale, window) - lse.slice(1, cu[b], cu[b + 1]).unsqueeze(-1)).exp();
    at::Tensor in_band = at::ones({length, length}, at::kFloat).tril(-lo).triu(-hi).slice(0, first_row[b]);
    at::Tensor sum = (a.slice(1, first_row[b]) * in_band).nan_to_num(0.0).sum(1);
    out.slice(1, cu[b], cu[b + 1]).copy_(sum / in_band.sum(0).clamp_min(1));
  }
  return out;
}

at::Tensor anchor_mass_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse_ns,
                                const std::vector<int64_t>& cu, double scale,
                                const std::vector<int64_t>& step_of,
                                const std::vector<std::vector<int64_t>>& anchors,
                                const std::vector<int64_t>& heads, int64_t window) {
  at::Tensor out = at::zeros({static_cast<int64_t>(heads.size()), q.size(0)}, at::kFloat);
  for (size_t b = 0; b + 1 < cu.size(); ++b) {
    const int64_t length = cu[b + 1] - cu[b];
    if (length == 0 || heads.empty()) continue;
    at::Tensor a =
        (scores(q, k, cu[b], cu[b + 1], scale, window) - lse_ns.slice(1, cu[b], cu[b + 1]).unsqueeze(-1))
            .exp();
    at::Tensor mask = at::zeros({length, length}, at::kBool);
    for (int64_t t = 0; t < length; ++t) {
      const int64_t step = step_of[cu[b] + t];
      if (step < 0) continue;
      for (int64_t s : anchors[step]) mask[t][s] = true;
    }
    at::Tensor mass = at::where(mask, a, at::zeros({}, at::kFloat)).sum(-1);
    out.slice(1, cu[b], cu[b + 1]).copy_(mass.index_select(0, at::tensor(heads)));
  }
  return out;
}

void decode_attention_composed(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                               const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                               double scale, at::Tensor& out, int64_t window) {
  const int64_t group = q.size(1) / k_cache.size(1);
  for (size_t b = 0; b < slots.size(); ++b) {
    const int64_t begin = window > 0 ? std::max<int64_t>(0, lengths[b] - window) : 0;
    auto cached = [&](const at::Tensor& cache) {
      return cache[slots[b]]
          .slice(1, begin, lengths[b])
          .to(at::kFloat)
          .repeat_interleave(group, 0);  // [H, T, D]
    };
    at::Tensor s =
        at::matmul(cached(k_cache), q[b].to(at::kFloat).unsqueeze(-1)).squeeze(-1) * scale;  // [H, T]
    out[b].copy_(at::matmul(s.softmax(-1).unsqueeze(1), cached(v_cache)).squeeze(1));
  }
}

}  // namespace pan::kernels::cpu
