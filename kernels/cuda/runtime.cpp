// The calls of host.h that reach the CUDA runtime.
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include "kernels/cuda/host.h"
#include "kernels/dispatch.h"

namespace pan::kernels::cuda {

bool is_built() { return true; }

Stream stream_of(const at::Tensor& tensor) {
  return c10::cuda::getCurrentCUDAStream(tensor.device().index()).stream();
}

void check_launch(int error, const char* kernel) {
  TORCH_CHECK(error == cudaSuccess, "the GPU refused kernel ", kernel, ": ",
              cudaGetErrorString(static_cast<cudaError_t>(error)));
}

void product(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() == at::kFloat) {
    at::mm_out(out, a, b);
  } else {
    at::mm_out(out, a, b, at::kFloat);
  }
}

at::Tensor upload_bytes(const void* data, size_t bytes, const at::Tensor& like) {
  at::Tensor host =
      at::empty({static_cast<int64_t>(bytes)}, at::TensorOptions(at::kByte).pinned_memory(true));
  if (bytes > 0) std::memcpy(host.mutable_data_ptr(), data, bytes);
  return host.to(like.device(), /*non_blocking=*/true);
}

}  // namespace pan::kernels::cuda
