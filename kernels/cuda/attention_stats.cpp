// Launches the attention statistics, cut into blocks by tasks.h.
#include "kernels/attention_stats.h"

#include <algorithm>
#include <vector>

#include "kernels/cuda/host.h"
#include "kernels/cuda/tasks.h"
#include "kernels/dispatch.h"

namespace pan::kernels::cuda {
namespace {

// Queries and keys as the device code takes them; the tensors keep a padded copy alive.
struct Inputs {
  at::Tensor q, k;
  device::Heads heads;
};

device::Packed packed(const at::Tensor& x) { return {x.const_data_ptr(), x.stride(0), x.stride(1)}; }

Inputs inputs_of(const at::Tensor& q, const at::Tensor& k, double scale) {
  TORCH_CHECK_VALUE(q.size(2) <= kMaxHeadSize, "attention statistics on a GPU take a head size up to ",
                    kMaxHeadSize, ", got ", q.size(2));
  checked_int(q.size(0), "the number of tokens");
  Inputs in{aligned(q), aligned(k), {}};
  in.heads = {packed(in.q), packed(in.k), static_cast<int32_t>(in.q.size(2)),
              static_cast<int32_t>(q.size(1) / k.size(1)), static_cast<float>(scale * kLog2E)};
  return in;
}

at::TensorOptions floats_on(const at::Tensor& x) { return x.options().dtype(at::kFloat); }

// Positions that one block of row_stats takes for so many heads of a group.
int64_t positions_of(const at::Tensor& q, int head_size, int heads) {
  return with_element(element_type(q), head_size, [&](auto element, auto size) {
    return device::row_stats_positions<decltype(element), decltype(size)::value>(heads);
  });
}

}  // namespace

RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options) {
  const c10::DeviceGuard guard(q.device());
  const Inputs in = inputs_of(q, k, options.scale);
  const RowStatsSelect& select = options.select;
  RowStats out;
  const RowSlots slots = row_slots(options.heads, q.size(1), in.heads.group);
  device::RowStatsJob job{in.heads,
                          nullptr,
                          nullptr,
                          q.size(0),
                          checked_int(options.num_sink, "num_sink"),
                          checked_int(options.waad_window, "waad_window"),
                          checked_int(options.sliding_window, "sliding_window"),
                          {}};
  // Rows before first_row are the only ones that no task writes.
  bool all_rows = true;
  for (int64_t first : options.first_row) all_rows = all_rows && first == 0;
  auto make = [&](bool wanted, device::Statistic which, at::Tensor& tensor) {
    if (!wanted) return;
    const std::vector<int64_t> shape{static_cast<int64_t>(slots.slots.size()), q.size(0)};
    tensor = all_rows ? at::empty(shape, floats_on(q)) : at::zeros(shape, floats_on(q));
    job.out[which] = tensor.mutable_data_ptr<float>();
  };
  make(select.lse, device::kLse, out.lse);
  make(select.lse, device::kLseNs, out.lse_ns);
  make(select.entropy, device::kEntropy, out.entropy);
  make(select.norm_entropy, device::kNormEntropy, out.norm_entropy);
  make(select.distance, device::kDistance, out.distance);
  make(select.distance_ns, device::kDistanceNs, out.distance_ns);
  make(select.waad, device::kWaad, out.waad);
  make(select.sink_mass, device::kSinkMass, out.sink_mass);

  const auto tasks =
      row_tasks(cu_seqlens, options.first_row, slots, positions_of(in.q, in.heads.head_size, slots.most));
  if (tasks.empty()) return out;
  const at::Tensor tasks_there = upload(tasks, q), slots_there = upload(slots.slots, q);
  job.tasks = data_of<device::RowsTask>(tasks_there);
  job.slots = data_of<device::HeadSlot>(slots_there);
  check_launch(launch_row_stats(element_type(q), job,
                                checked_int(static_cast<int64_t>(tasks.size()), "tasks"), stream_of(q)),
               "row_stats");
  return out;
}

at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                          const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                          const at::Tensor& head_weights, int64_t sliding_window) {
  const c10::DeviceGuard guard(q.device());
  const Inputs in = inputs_of(q, k, scale);
  TORCH_CHECK_VALUE(hi - lo < kMaxBandWidth, "attention_band on a GPU takes up to ", kMaxBandWidth,
                    " diagonals, got lo = ", lo, " and hi = ", hi);
  const auto tasks = band_tasks(cu_seqlens);
  const at::Tensor rows_lse = lse.contiguous(), weights = head_weights.to(q.device()).contiguous();
  at::Tensor out = at::empty({q.size(0), hi - lo + 1}, floats_on(q));

  if (tasks.empty()) return out;
  const at::Tensor on_device = upload(tasks, q);
  const device::BandJob job{in.heads,
                            data_of<device::BandTask>(on_device),
                            q.size(0),
                            static_cast<int32_t>(q.size(1)),
                            checked_int(lo, "lo"),
                            checked_int(hi, "hi"),
                            checked_int(sliding_window, "sliding_window"),
                            rows_lse.const_data_ptr<float>(),
                            weights.const_data_ptr<float>(),
                            out.mutable_data_ptr<float>()};
  check_launch(launch_band(element_type(q), job, checked_int(static_cast<int64_t>(tasks.size()), "tasks"),
                           stream_of(q)),
               "attention_band");
  return out;
}

at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                         const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                         const std::vector<int64_t>& first_row, int64_t sliding_window) {
  const c10::DeviceGuard guard(q.device());
  const Inputs in = inputs_of(q, k, scale);
  const at::Tensor rows_lse = lse.contiguous();
  at::Tensor out = at::empty({q.size(1), q.size(0)}, floats_on(q));
  const auto tasks = fai_tasks(cu_seqlens, first_row);
  if (tasks.empty()) return out;
  const at::Tensor on_device = upload(tasks, q);
  const device::FaiJob job{in.heads,
                           data_of<device::FaiTask>(on_device),
                           q.size(0),
                           checked_int(lo, "lo"),
                           checked_int(hi, "hi"),
                           checked_int(sliding_window, "sliding_window"),
                           rows_lse.const_data_ptr<float>(),
                           out.mutable_data_ptr<float>()};
  check_launch(launch_fai(element_type(q), job, checked_int(static_cast<int64_t>(tasks.size()), "tasks"),
                          checked_grid_y(q.size(1), "heads"), stream_of(q)),
               "attention_fai");
  return out;
}

at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse_ns,
                       const std::vector<int64_t>& cu_seqlens, double scale,
                       const std::vector<int64_t>& step_of, const std::vector<std::vector<int64_t>>& anchors,
                       const std::vector<int64_t>& heads, int64_t sliding_window) {
  const c10::DeviceGuard guard(q.device());
  const Inputs in = inputs_of(q, k, scale);
  const at::Tensor rows_lse = lse_ns.contiguous();
  at::Tensor out = at::zeros({static_cast<int64_t>(heads.size()), q.size(0)}, floats_on(q));
  const std::vector<int32_t> head_of(heads.begin(), heads.end());
  const auto [tasks, keys] = anchor_tasks(cu_seqlens, step_of, anchors);
  if (tasks.empty() || heads.empty()) return out;
  const at::Tensor tasks_there = upload(tasks, q), keys_there = upload(keys, q),
                   heads_there = upload(head_of, q);
  const device::AnchorJob job{in.heads,
                              data_of<device::AnchorTask>(tasks_there),
                              data_of<int32_t>(keys_there),
                              data_of<int32_t>(heads_there),
                              q.size(0),
                              checked_int(sliding_window, "sliding_window"),
                              rows_lse.const_data_ptr<float>(),
                              out.mutable_data_ptr<float>()};
  check_launch(launch_anchor(element_type(q), job, checked_int(static_cast<int64_t>(tasks.size()), "tasks"),
                             checked_grid_y(static_cast<int64_t>(heads.size()), "heads"), stream_of(q)),
               "anchor_mass");
  return out;
}

}  // namespace pan::kernels::cuda
