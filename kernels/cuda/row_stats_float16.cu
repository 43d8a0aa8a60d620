#include "kernels/cuda/launch_row_stats.cuh"

namespace pan::kernels::cuda {

cudaError_t launch_row_stats_float16(const device::RowStatsJob& job, int num_tasks, Stream stream) {
  return launch_row_stats_of<device::Fp16>(job, num_tasks, stream);
}

}  // namespace pan::kernels::cuda
