#include "kernels/cuda/device/logprob.h"

#include "kernels/cuda/launch_common.cuh"

namespace pan::kernels::cuda {
namespace {

__global__ void __launch_bounds__(device::kLogprobThreads)
    reduce_kernel(const __grid_constant__ device::LogprobReduceJob job) {
  device::logprob_reduce_block<float>(job);
}

__global__ void __launch_bounds__(device::kLogprobThreads)
    finish_kernel(const __grid_constant__ device::LogprobFinishJob job) {
  device::logprob_finish_block(job);
}

template <class Out>
__global__ void __launch_bounds__(device::kLogprobThreads)
    gradient_kernel(const __grid_constant__ device::LogprobGradientJob job) {
  device::logprob_gradient_block<float, Out>(job);
}

}  // namespace

int launch_logprob_reduce(const device::LogprobReduceJob& job, int num_rows, Stream stream) {
  return launch<device::logprob_reduce_shared_bytes()>(reduce_kernel, dim3(static_cast<unsigned>(num_rows)),
                                                       device::kLogprobThreads, stream, job);
}

int launch_logprob_finish(const device::LogprobFinishJob& job, Stream stream) {
  const int blocks = (job.rows + device::kLogprobThreads - 1) / device::kLogprobThreads;
  return launch<0>(finish_kernel, dim3(static_cast<unsigned>(blocks)), device::kLogprobThreads, stream, job);
}

int launch_logprob_gradient(ElementType out, const device::LogprobGradientJob& job, int num_rows,
                            Stream stream) {
  const dim3 grid(static_cast<unsigned>(device::logprob_gradient_blocks(job.columns)),
                  static_cast<unsigned>(num_rows));
  const auto kernel = out == ElementType::bfloat16 ? gradient_kernel<device::Bf16> : gradient_kernel<float>;
  return launch<0>(kernel, grid, device::kLogprobThreads, stream, job);
}

}  // namespace pan::kernels::cuda
