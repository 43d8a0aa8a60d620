#include "kernels/cpu/hot.h"

#include "kernels/isa.h"

namespace pan::kernels::cpu {

const HotKernels& hot() {
#if defined(__x86_64__)
  switch (active_isa()) {
    case Isa::avx512:
      return has_native_bf16() ? hot_avx512_bf16() : hot_avx512();
    case Isa::avx2:
      return hot_avx2();
    case Isa::baseline:
      break;
  }
#endif
  return hot_baseline();
}

}  // namespace pan::kernels::cpu
