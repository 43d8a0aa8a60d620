// Launches of the device kernels: plain C++, no ATen, so that nvcc sees little and host code no CUDA syntax.
//
//   C10_CUDA_CHECK(cuda::launch_row_stats(ElementType::bfloat16, job, num_tasks, stream));
//
// Jobs are those of device/jobs.h: pointers into device memory, alignment as written there. Every function
// returns the error of its launch (not of its execution), does nothing for an empty grid and neither waits
// nor allocates.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/device/jobs.h"
#include "kernels/cuda/element_type.h"

namespace pan::kernels::cuda {

cudaError_t launch_row_stats(ElementType type, const device::RowStatsJob& job, int num_tasks,
                             cudaStream_t stream);
cudaError_t launch_band(ElementType type, const device::BandJob& job, int num_tasks, cudaStream_t stream);
cudaError_t launch_fai(ElementType type, const device::FaiJob& job, int num_tasks, int num_heads,
                       cudaStream_t stream);
cudaError_t launch_anchor(ElementType type, const device::AnchorJob& job, int num_tasks, int num_heads,
                          cudaStream_t stream);
// The merge of the splits included.
cudaError_t launch_decode(ElementType type, const device::DecodeJob& job, int num_rows, cudaStream_t stream);

// Logits in float32.
cudaError_t launch_logprob_reduce(const device::LogprobReduceJob& job, int num_rows, cudaStream_t stream);
cudaError_t launch_logprob_finish(const device::LogprobFinishJob& job, cudaStream_t stream);
// The gradient in float32 or bfloat16.
cudaError_t launch_logprob_gradient(ElementType out, const device::LogprobGradientJob& job, int num_rows,
                                    cudaStream_t stream);

}  // namespace pan::kernels::cuda
