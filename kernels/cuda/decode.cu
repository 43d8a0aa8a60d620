#include "kernels/cuda/device/decode.h"

#include "kernels/cuda/launch_common.cuh"

namespace pan::kernels::cuda {
namespace {

template <class T, int kD, int kG>
__global__ void __launch_bounds__(device::kThreads)
    decode_kernel(const __grid_constant__ device::DecodeJob job) {
  device::decode_block<T, kD, kG>(job);
}

template <class T>
__global__ void __launch_bounds__(device::kThreads)
    decode_merge_kernel(const __grid_constant__ device::DecodeJob job) {
  device::decode_merge_block<T>(job);
}

template <class T, int kD, int kG>
cudaError_t launch_heads(const device::DecodeJob& job, int num_rows, cudaStream_t stream) {
  const int num_key_heads = job.num_heads / job.group;
  const dim3 grid(static_cast<unsigned>(job.num_splits),
                  static_cast<unsigned>(num_key_heads * device::decode_head_pieces(job.group)),
                  static_cast<unsigned>(num_rows));
  return launch(decode_kernel<T, kD, kG>, grid, device::kThreads, device::decode_shared_bytes<T, kD, kG>(),
                stream, job);
}

}  // namespace

cudaError_t launch_decode(ElementType type, const device::DecodeJob& job, int num_rows, cudaStream_t stream) {
  return with_element(type, job.head_size, [&](auto element, auto size) {
    using T = decltype(element);
    constexpr int kD = decltype(size)::value;
    cudaError_t error = cudaSuccess;
    switch (device::decode_heads(job.group)) {
      case 1:
        error = launch_heads<T, kD, 1>(job, num_rows, stream);
        break;
      case 2:
        error = launch_heads<T, kD, 2>(job, num_rows, stream);
        break;
      case 4:
        error = launch_heads<T, kD, 4>(job, num_rows, stream);
        break;
      default:
        error = launch_heads<T, kD, 8>(job, num_rows, stream);
    }
    if (error != cudaSuccess || job.num_splits == 1) return error;
    const dim3 grid(static_cast<unsigned>(job.num_heads), static_cast<unsigned>(num_rows));
    return launch(decode_merge_kernel<T>, grid, device::kThreads, 0, stream, job);
  });
}

}  // namespace pan::kernels::cuda
