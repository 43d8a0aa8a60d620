// Built instead of kernels/cuda/ when CUDA is off: says how to enable it.
#include <c10/util/Exception.h>

#include "kernels/dispatch.h"

namespace pan::kernels::cuda {
namespace {

[[noreturn]] void refuse() {
  TORCH_CHECK_VALUE(
      false,
      "this binary was built without CUDA; run PAN_CUDA=ON scripts/setup.sh and build again, or "
      "use tensors on the CPU");
}

}  // namespace

bool is_built() { return false; }

RowStats row_stats(const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&,
                   const RowStatsOptions&) {
  refuse();
}

at::Tensor attention_band(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                          const std::vector<int64_t>&, double, int64_t, int64_t, const at::Tensor&, int64_t) {
  refuse();
}

at::Tensor attention_fai(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&,
                         double, int64_t, int64_t, const std::vector<int64_t>&, int64_t) {
  refuse();
}

at::Tensor anchor_mass(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&,
                       double, const std::vector<int64_t>&, const std::vector<std::vector<int64_t>>&,
                       const std::vector<int64_t>&, int64_t) {
  refuse();
}

LogprobEntropy logprob_entropy(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                               const LogprobOptions&) {
  refuse();
}

void decode_attention(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&,
                      const std::vector<int64_t>&, double, at::Tensor&, int64_t) {
  refuse();
}

}  // namespace pan::kernels::cuda
