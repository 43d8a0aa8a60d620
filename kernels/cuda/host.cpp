#include "kernels/cuda/host.h"

namespace pan::kernels::cuda {

at::Tensor aligned(const at::Tensor& x) {
  constexpr int64_t kBytes = 16;
  const int64_t per_unit = kBytes / static_cast<int64_t>(x.element_size());
  const int64_t last = x.dim() - 1;
  bool fits = reinterpret_cast<uintptr_t>(x.const_data_ptr()) % kBytes == 0 && x.size(last) % per_unit == 0;
  for (int64_t d = 0; d < last; ++d) fits = fits && x.stride(d) % per_unit == 0;
  if (fits) return x;
  std::vector<int64_t> shape = x.sizes().vec();
  shape[static_cast<size_t>(last)] = (x.size(last) + per_unit - 1) / per_unit * per_unit;
  at::Tensor padded = at::zeros(shape, x.options());
  padded.narrow(last, 0, x.size(last)).copy_(x);
  return padded;
}

}  // namespace pan::kernels::cuda
