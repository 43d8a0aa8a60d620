#include "kernels/cuda/launch_row_stats.cuh"

namespace pan::kernels::cuda {

int launch_row_stats(ElementType type, const device::RowStatsJob& job, int num_tasks, Stream stream) {
  switch (type) {
    case ElementType::bfloat16:
      return launch_row_stats_bfloat16(job, num_tasks, stream);
    case ElementType::float16:
      return launch_row_stats_float16(job, num_tasks, stream);
    default:
      return launch_row_stats_float32(job, num_tasks, stream);
  }
}

}  // namespace pan::kernels::cuda
