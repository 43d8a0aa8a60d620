// Cuts the attention statistics into blocks and launches them.
#include "kernels/attention_stats.h"

#include <algorithm>
#include <vector>

#include "kernels/cuda/host.h"
#include "kernels/cuda/launch.h"
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

// Positions that one block of row_stats takes.
int64_t positions_of(const at::Tensor& q, const device::Heads& heads) {
  return with_element(element_type(q), heads.head_size, [&](auto element, auto size) {
    return device::row_stats_positions<decltype(element), decltype(size)::value>(heads.group);
  });
}

std::vector<device::RowsTask> row_tasks(const std::vector<int64_t>& cu_seqlens,
                                        const std::vector<int64_t>& first_row, int64_t num_heads,
                                        int32_t group, int64_t positions) {
  std::vector<device::RowsTask> tasks;
  const int32_t heads = device::row_stats_heads(group);
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    const int64_t begin = cu_seqlens[b], length = cu_seqlens[b + 1] - begin;
    for (int64_t t = first_row[b]; t < length; t += positions) {
      for (int64_t first = 0; first < num_heads; first += group) {
        for (int32_t h = 0; h < group; h += heads) {
          tasks.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(t),
                           static_cast<int32_t>(std::min(t + positions, length)),
                           static_cast<int32_t>(first) + h, std::min(heads, group - h)});
        }
      }
    }
  }
  // Long rows first, so that no multiprocessor is left with one at the end.
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const device::RowsTask& a, const device::RowsTask& b) { return a.t_end > b.t_end; });
  return tasks;
}

}  // namespace

RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options) {
  const c10::cuda::CUDAGuard guard(q.device());
  const Inputs in = inputs_of(q, k, options.scale);
  const RowStatsSelect& select = options.select;
  RowStats out;
  device::RowStatsJob job{in.heads,
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
    tensor = all_rows ? at::empty({q.size(1), q.size(0)}, floats_on(q))
                      : at::zeros({q.size(1), q.size(0)}, floats_on(q));
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
      row_tasks(cu_seqlens, options.first_row, q.size(1), in.heads.group, positions_of(in.q, in.heads));
  if (tasks.empty()) return out;
  const at::Tensor on_device = upload(tasks, q);
  job.tasks = data_of<device::RowsTask>(on_device);
  C10_CUDA_CHECK(launch_row_stats(element_type(q), job,
                                  checked_int(static_cast<int64_t>(tasks.size()), "tasks"), stream_of(q)));
  return out;
}

at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                          const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                          const at::Tensor& head_weights, int64_t sliding_window) {
  const c10::cuda::CUDAGuard guard(q.device());
  const Inputs in = inputs_of(q, k, scale);
  const at::Tensor rows_lse = lse.contiguous(), weights = head_weights.to(q.device()).contiguous();
  at::Tensor out = at::empty({q.size(0), hi - lo + 1}, floats_on(q));
  std::vector<device::BandTask> tasks;
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    const int64_t length = cu_seqlens[b + 1] - cu_seqlens[b];
    for (int64_t t = 0; t < length; t += device::kTileRows) {
      tasks.push_back({static_cast<int32_t>(cu_seqlens[b]), static_cast<int32_t>(t),
                       static_cast<int32_t>(std::min<int64_t>(t + device::kTileRows, length))});
    }
  }
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
  C10_CUDA_CHECK(launch_band(element_type(q), job, static_cast<int>(tasks.size()), stream_of(q)));
  return out;
}

at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                         const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                         const std::vector<int64_t>& first_row, int64_t sliding_window) {
  const c10::cuda::CUDAGuard guard(q.device());
  const Inputs in = inputs_of(q, k, scale);
  const at::Tensor rows_lse = lse.contiguous();
  at::Tensor out = at::empty({q.size(1), q.size(0)}, floats_on(q));
  std::vector<device::FaiTask> tasks;
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    const int64_t length = cu_seqlens[b + 1] - cu_seqlens[b];
    for (int64_t s = 0; s < length; s += device::kTileRows) {
      tasks.push_back({static_cast<int32_t>(cu_seqlens[b]), static_cast<int32_t>(length),
                       static_cast<int32_t>(first_row[b]), static_cast<int32_t>(s),
                       static_cast<int32_t>(std::min<int64_t>(s + device::kTileRows, length))});
    }
  }
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
  C10_CUDA_CHECK(launch_fai(element_type(q), job, static_cast<int>(tasks.size()), static_cast<int>(q.size(1)),
                            stream_of(q)));
  return out;
}

at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse_ns,
                       const std::vector<int64_t>& cu_seqlens, double scale,
                       const std::vector<int64_t>& step_of, const std::vector<std::vector<int64_t>>& anchors,
                       const std::vector<int64_t>& heads, int64_t sliding_window) {
  const c10::cuda::CUDAGuard guard(q.device());
  const Inputs in = inputs_of(q, k, scale);
  const at::Tensor rows_lse = lse_ns.contiguous();
  at::Tensor out = at::zeros({static_cast<int64_t>(heads.size()), q.size(0)}, floats_on(q));
  std::vector<int32_t> keys, key_begin, head_of(heads.begin(), heads.end());
  for (const std::vector<int64_t>& step : anchors) {
    key_begin.push_back(static_cast<int32_t>(keys.size()));
    keys.insert(keys.end(), step.begin(), step.end());
  }
  std::vector<device::AnchorTask> tasks;
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    const int64_t begin = cu_seqlens[b], length = cu_seqlens[b + 1] - begin;
    int64_t t_end = 0;
    for (int64_t t = 0; t < length; t = t_end) {
      const int64_t step = step_of[static_cast<size_t>(begin + t)];
      const int64_t limit = std::min<int64_t>(length, t + device::kTileRows);
      for (t_end = t + 1; t_end < limit && step_of[static_cast<size_t>(begin + t_end)] == step;) ++t_end;
      if (step < 0 || anchors[static_cast<size_t>(step)].empty()) continue;
      tasks.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(t), static_cast<int32_t>(t_end),
                       key_begin[static_cast<size_t>(step)],
                       static_cast<int32_t>(anchors[static_cast<size_t>(step)].size())});
    }
  }
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
  C10_CUDA_CHECK(launch_anchor(element_type(q), job, static_cast<int>(tasks.size()),
                               static_cast<int>(heads.size()), stream_of(q)));
  return out;
}

}  // namespace pan::kernels::cuda
