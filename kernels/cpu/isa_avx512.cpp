// The hot loops for avx512; flags in kernels/CMakeLists.txt.
#define PAN_HOT_NAMESPACE hot_avx512_code
#include "kernels/cpu/simd.h"
// clang-format off
#include "kernels/cpu/hot_gemm.inl"
#include "kernels/cpu/hot_row_stats.inl"
#include "kernels/cpu/hot_band.inl"
#include "kernels/cpu/hot_decode.inl"
#include "kernels/cpu/hot_logprob.inl"
#include "kernels/cpu/hot_logprob_backward.inl"
#include "kernels/cpu/isa_table.inl"
// clang-format on

namespace pan::kernels::cpu {
const HotKernels& hot_avx512() { return hot_avx512_code::kTable; }
}  // namespace pan::kernels::cpu
