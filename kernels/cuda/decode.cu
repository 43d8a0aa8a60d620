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
cudaError_t launch_heads(const device::DecodeJob& job, int num_rows, Stream stream) {
  const int num_key_heads = job.num_heads / job.group;
  const dim3 grid(static_cast<unsigned>(job.num_splits),
                  static_cast<unsigned>(num_key_heads * device::decode_head_pieces(job.group)),
                  static_cast<unsigned>(num_rows));
  return launch<device::decode_shared_bytes<T, kD, kG>()>(decode_kernel<T, kD, kG>, grid, device::kThreads,
                                                          stream, job);
}

}  // namespace

int launch_decode(ElementType type, const device::DecodeJob& job, int num_rows, Stream stream) {
  return with_element(type, job.head_size, [&](auto element, auto size) {
    using T = decltype(element);
    constexpr int kD = decltype(size)::value;
    const cudaError_t error = with_decode_heads(job.group, [&](auto heads) {
      return launch_heads<T, kD, decltype(heads)::value>(job, num_rows, stream);
    });
    if (error != cudaSuccess || job.num_splits == 1) return error;
    const dim3 grid(static_cast<unsigned>(job.num_heads), static_cast<unsigned>(num_rows));
    return launch<0>(decode_merge_kernel<T>, grid, device::kThreads, stream, job);
  });
}

}  // namespace pan::kernels::cuda
