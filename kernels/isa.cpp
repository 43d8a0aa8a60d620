#include "kernels/isa.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <string>

namespace pan::kernels {
namespace {

Isa read_isa() {
  const char* wanted = std::getenv("PAN_ISA");
  if (wanted == nullptr || *wanted == '\0') return best_isa();
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (std::string(wanted) != isa_name(isa)) continue;
    TORCH_CHECK_VALUE(isa <= best_isa(), "PAN_ISA=", wanted, ": this machine supports ", isa_name(best_isa()),
                      " at most");
    return isa;
  }
  TORCH_CHECK_VALUE(false, "PAN_ISA=", wanted, ": expected baseline, avx2 or avx512");
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::baseline:
      return "baseline";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "unknown";
}

Isa best_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (!avx2) return Isa::baseline;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return avx512 ? Isa::avx512 : Isa::avx2;
#else
  return Isa::baseline;
#endif
}

Isa active_isa() {
  static const Isa isa = read_isa();
  return isa;
}

bool has_native_bf16() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return best_isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace pan::kernels
