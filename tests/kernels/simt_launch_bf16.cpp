#include "kernels/simt_launch.inl"

namespace pan::kernels::testing {
template struct Emulated<device::Bf16>;
}  // namespace pan::kernels::testing
