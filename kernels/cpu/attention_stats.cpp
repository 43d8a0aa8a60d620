// Cuts the attention statistics into tasks and runs the hot loops on them.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/hot.h"
#include "kernels/cpu/tasks.h"
#include "kernels/cpu/type_of.h"
#include "kernels/dispatch.h"

namespace pan::kernels::cpu {
namespace {

constexpr double kLog2E = 1.4426950408889634;

Packed packed(const at::Tensor& x) { return {x.const_data_ptr(), x.stride(0), x.stride(1)}; }

Heads heads_of(const at::Tensor& q, const at::Tensor& k, double scale) {
  return {
      packed(q), packed(k), type_of(q), q.size(2), q.size(1) / k.size(1), static_cast<float>(scale * kLog2E)};
}

// The chosen heads (empty = all), those of one key head together.
std::vector<HeadSlot> slots_of(const std::vector<int64_t>& chosen, int64_t num_heads, int64_t group) {
  std::vector<HeadSlot> slots;
  const int64_t count = chosen.empty() ? num_heads : static_cast<int64_t>(chosen.size());
  for (int64_t i = 0; i < count; ++i) slots.push_back({chosen.empty() ? i : chosen[i], i});
  std::stable_sort(slots.begin(), slots.end(),
                   [group](const HeadSlot& a, const HeadSlot& b) { return a.head / group < b.head / group; });
  return slots;
}

// Where the slots of each key head begin, and the end of the last.
std::vector<int64_t> key_head_bounds(const std::vector<HeadSlot>& slots, int64_t group) {
  std::vector<int64_t> bounds;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (i == 0 || slots[i].head / group != slots[i - 1].head / group)
      bounds.push_back(static_cast<int64_t>(i));
  }
  bounds.push_back(static_cast<int64_t>(slots.size()));
  return bounds;
}

}  // namespace

RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options) {
  const RowStatsSelect& select = options.select;
  RowStats out;
  const Heads heads = heads_of(q, k, options.scale);
  const std::vector<HeadSlot> slots = slots_of(options.heads, q.size(1), heads.group);
  const std::vector<int64_t> bounds = key_head_bounds(slots, heads.group);
  int64_t max_slots = 0;
  for (size_t i = 1; i < bounds.size(); ++i) max_slots = std::max(max_slots, bounds[i] - bounds[i - 1]);
  RowStatsJob job{heads,
                  slots.data(),
                  max_slots,
                  options.num_sink,
                  options.waad_window,
                  options.sliding_window,
                  q.size(0),
                  {}};
  // Rows before first_row are the only ones that no task writes.
  bool all_rows = true;
  for (int64_t first : options.first_row) all_rows = all_rows && first == 0;
  auto make = [&](bool wanted, Statistic which, at::Tensor& tensor) {
    if (!wanted) return;
    const std::vector<int64_t> shape = {static_cast<int64_t>(slots.size()), q.size(0)};
    tensor = all_rows ? at::empty(shape, at::kFloat) : at::zeros(shape, at::kFloat);
    job.out[which] = tensor.data_ptr<float>();
  };
  make(select.lse, kLse, out.lse);
  make(select.lse, kLseNs, out.lse_ns);
  make(select.entropy, kEntropy, out.entropy);
  make(select.norm_entropy, kNormEntropy, out.norm_entropy);
  make(select.distance, kDistance, out.distance);
  make(select.distance_ns, kDistanceNs, out.distance_ns);
  make(select.waad, kWaad, out.waad);
  make(select.sink_mass, kSinkMass, out.sink_mass);

  const HotKernels& kernels = hot();
  const int64_t rows = kernels.row_stats_rows(max_slots);
  std::vector<RowsTask> tasks;
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    const int64_t length = cu_seqlens[b + 1] - cu_seqlens[b];
    for (int64_t t = options.first_row[b]; t < length; t += rows) {
      for (size_t i = 1; i < bounds.size(); ++i) {
        tasks.push_back({cu_seqlens[b], t, std::min(t + rows, length), bounds[i - 1], bounds[i]});
      }
    }
  }
  // Long rows first, so that no thread is left with one at the end.
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const RowsTask& a, const RowsTask& b) { return a.t_end > b.t_end; });
  run_tasks(static_cast<int64_t>(tasks.size()), kernels.row_stats_scratch(job),
            [&](int64_t i, void* scratch) { kernels.row_stats(job, tasks[i], scratch); });
  return out;
}

at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                          const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                          const at::Tensor& head_weights, int64_t sliding_window) {
  const at::Tensor rows_lse = lse.contiguous(), weights = head_weights.to(at::kCPU).contiguous();
  at::Tensor out = at::zeros({q.size(0), hi - lo + 1}, at::kFloat);
  const BandJob job{heads_of(q, k, scale),
                    q.size(1),
                    q.size(0),
                    lo,
                    hi,
                    sliding_window,
                    rows_lse.const_data_ptr<float>(),
                    weights.const_data_ptr<float>(),
                    out.data_ptr<float>()};
  const HotKernels& kernels = hot();
  std::vector<RowsTask> tasks;
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    const int64_t length = cu_seqlens[b + 1] - cu_seqlens[b];
    for (int64_t t = 0; t < length; t += kernels.panel_rows) {
      tasks.push_back({cu_seqlens[b], t, std::min(t + kernels.panel_rows, length), 0, 0});
    }
  }
  run_tasks(static_cast<int64_t>(tasks.size()), kernels.band_scratch(job),
            [&](int64_t i, void* scratch) { kernels.band(job, tasks[i], scratch); });
  return out;
}

at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                         const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                         const std::vector<int64_t>& first_row, int64_t sliding_window) {
  const at::Tensor rows_lse = lse.contiguous();
  at::Tensor out = at::empty({q.size(1), q.size(0)}, at::kFloat);
  const FaiJob job{heads_of(q, k, scale), q.size(0), lo, hi, sliding_window, rows_lse.const_data_ptr<float>(),
                   out.data_ptr<float>()};
  const HotKernels& kernels = hot();
  std::vector<FaiTask> tasks;
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    const int64_t length = cu_seqlens[b + 1] - cu_seqlens[b];
    for (int64_t s = 0; s < length; s += kernels.panel_rows) {
      for (int64_t head = 0; head < q.size(1); ++head) {
        tasks.push_back(
            {cu_seqlens[b], length, first_row[b], s, std::min(s + kernels.panel_rows, length), head});
      }
    }
  }
  run_tasks(static_cast<int64_t>(tasks.size()), kernels.fai_scratch(job),
            [&](int64_t i, void* scratch) { kernels.fai(job, tasks[i], scratch); });
  return out;
}

at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse_ns,
                       const std::vector<int64_t>& cu_seqlens, double scale,
                       const std::vector<int64_t>& step_of, const std::vector<std::vector<int64_t>>& anchors,
                       const std::vector<int64_t>& heads, int64_t sliding_window) {
  const at::Tensor rows_lse = lse_ns.contiguous();
  at::Tensor out = at::zeros({static_cast<int64_t>(heads.size()), q.size(0)}, at::kFloat);
  const AnchorJob job{heads_of(q, k, scale), q.size(0), sliding_window, rows_lse.const_data_ptr<float>(),
                      out.data_ptr<float>()};
  const HotKernels& kernels = hot();
  std::vector<AnchorTask> tasks;
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    const int64_t begin = cu_seqlens[b], length = cu_seqlens[b + 1] - begin;
    int64_t t_end = 0;
    for (int64_t t = 0; t < length; t = t_end) {
      const int64_t step = step_of[begin + t];
      for (t_end = t + 1; t_end < std::min(length, t + kernels.panel_rows) && step_of[begin + t_end] == step;)
        ++t_end;
      if (step < 0 || anchors[step].empty()) continue;
      for (size_t i = 0; i < heads.size(); ++i) {
        tasks.push_back({begin, t, t_end, heads[i], static_cast<int64_t>(i), anchors[step].data(),
                         static_cast<int64_t>(anchors[step].size())});
      }
    }
  }
  run_tasks(static_cast<int64_t>(tasks.size()), kernels.anchor_scratch(job),
            [&](int64_t i, void* scratch) { kernels.anchor(job, tasks[i], scratch); });
  return out;
}

}  // namespace pan::kernels::cpu
