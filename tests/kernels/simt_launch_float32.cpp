#include "kernels/simt_launch.inl"

namespace pan::kernels::testing {
template struct Emulated<float>;
}  // namespace pan::kernels::testing
