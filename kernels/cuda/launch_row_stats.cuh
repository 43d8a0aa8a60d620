// The row statistics of one element type; each .cu file instantiates one, so that they compile in parallel.
#pragma once

#include "kernels/cuda/device/row_stats.h"
#include "kernels/cuda/launch_common.cuh"

namespace pan::kernels::cuda {

template <class T, int kD, unsigned kWanted>
__global__ void __launch_bounds__(device::kThreads, device::row_stats_min_blocks<T, kD>())
    row_stats_kernel(const __grid_constant__ device::RowStatsJob job) {
  device::row_stats_block<T, kD, kWanted>(job);
}

template <class T, unsigned kWanted>
cudaError_t launch_wanted(const device::RowStatsJob& job, int num_tasks, Stream stream) {
  return with_head_size(job.heads.head_size, [&](auto size) {
    constexpr int kD = decltype(size)::value;
    return launch<device::row_stats_shared_bytes<T, kD>()>(row_stats_kernel<T, kD, kWanted>,
                                                           dim3(static_cast<unsigned>(num_tasks)),
                                                           device::kThreads, stream, job);
  });
}

template <class T>
cudaError_t launch_row_stats_of(const device::RowStatsJob& job, int num_tasks, Stream stream) {
  return with_wanted(device::wanted_of(job), [&](auto wanted) {
    return launch_wanted<T, decltype(wanted)::value>(job, num_tasks, stream);
  });
}

cudaError_t launch_row_stats_float32(const device::RowStatsJob& job, int num_tasks, Stream stream);
cudaError_t launch_row_stats_bfloat16(const device::RowStatsJob& job, int num_tasks, Stream stream);
cudaError_t launch_row_stats_float16(const device::RowStatsJob& job, int num_tasks, Stream stream);

}  // namespace pan::kernels::cuda
