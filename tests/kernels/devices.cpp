#include "kernels/cases.h"

namespace pan::kernels::testing {

std::vector<const char*> kernel_devices() { return {"cpu", "cuda"}; }

}  // namespace pan::kernels::testing
