// Cuts the attention statistics into tasks and runs the hot loops on them.
#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/hot.h"
#include "kernels/cpu/tasks.h"
#include "kernels/dispatch.h"

namespace pan::kernels::cpu {
namespace {

constexpr double kLog2E = 1.4426950408889634;

Type type_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kBFloat16: return Type::bfloat16;
    case at::kHalf: return Type::float16;
    default: return Type::float32;
  }
}

Packed packed(const at::Tensor& x) { return {x.const_data_ptr(), x.stride(0), x.stride(1)}; }

Heads heads_of(const at::Tensor& q, const at::Tensor& k, double scale) {
  return {packed(q), packed(k), type_of(q), q.size(2), q.size(1) / k.size(1), static_cast<float>(scale * kLog2E)};
}

}  // namespace

RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options) {
  const RowStatsSelect& select = options.select;
  RowStats out;
  RowStatsJob job{heads_of(q, k, options.scale), options.num_sink, options.waad_window, options.sliding_window,
                  q.size(0), {}};
  // Rows before first_row are the only ones that no task writes.
  bool all_rows = true;
  for (int64_t first : options.first_row) all_rows = all_rows && first == 0;
  auto make = [&](bool wanted, Statistic which, at::Tensor& tensor) {
    if (!wanted) return;
    const std::vector<int64_t> shape = {q.size(1), q.size(0)};
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
  const int64_t rows = kernels.row_stats_rows(job.heads.group);
  std::vector<RowsTask> tasks;
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    const int64_t length = cu_seqlens[b + 1] - cu_seqlens[b];
    for (int64_t t = options.first_row[b]; t < length; t += rows) {
      for (int64_t head = 0; head < k.size(1); ++head) {
        tasks.push_back({cu_seqlens[b], t, std::min(t + rows, length), head});
      }
    }
  }
  // Long rows first, so that no thread is left with one at the end.
  std::stable_sort(tasks.begin(), tasks.end(), [](const RowsTask& a, const RowsTask& b) { return a.t_end > b.t_end; });
  run_tasks(static_cast<int64_t>(tasks.size()), kernels.row_stats_scratch(job),
            [&](int64_t i, void* scratch) { kernels.row_stats(job, tasks[i], scratch); });
  return out;
}

}  // namespace pan::kernels::cpu
