#include "kernels/simt_launch.inl"

namespace pan::kernels::testing {
template struct Emulated<device::Fp16>;
}  // namespace pan::kernels::testing
