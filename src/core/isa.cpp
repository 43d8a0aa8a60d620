#include "core/isa.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "core/error.h"

namespace pan::core {
namespace {

constexpr std::array<std::pair<const char*, Isa>, 5> kNames = {
    {{"baseline", {}},
     {"avx2", {IsaLevel::kAvx2, false, false}},
     {"avx512", {IsaLevel::kAvx512, false, false}},
     {"avx512_bf16", {IsaLevel::kAvx512, true, false}},
     {"amx", {IsaLevel::kAvx512, true, true}}}};

size_t rank_of(const Isa& isa) {
  if (isa.level != IsaLevel::kAvx512) return static_cast<size_t>(isa.level);
  return isa.amx_bf16 ? 4 : isa.avx512_bf16 ? 3 : 2;
}

#if defined(__x86_64__)
// AMX needs the tile state enabled by the operating system (XCR0 bits 17 and 18) beside the processor's own
// flags.
bool has_amx_bf16() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & (1u << 27)) == 0) return false;  // OSXSAVE
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0x60000u) != 0x60000u) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  return (d & (1u << 22)) != 0 && (d & (1u << 24)) != 0;  // AMX-BF16, AMX-TILE
}
#endif

}  // namespace

std::string Isa::name() const { return kNames[rank_of(*this)].first; }

Isa detect_isa() {
  Isa found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  found.level = avx512 ? IsaLevel::kAvx512 : avx2 ? IsaLevel::kAvx2 : IsaLevel::kBaseline;
  found.avx512_bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  found.amx_bf16 = found.avx512_bf16 && has_amx_bf16();
#endif
  return found;
}

Isa choose_isa(const std::string& wanted, const Isa& available) {
  if (wanted.empty()) return available;
  for (const auto& [name, isa] : kNames) {
    if (wanted != name) continue;
    PAN_CHECK(rank_of(isa) <= rank_of(available), kUsage, "the processor does not have this instruction set")
        .where("PAN_ISA")
        .expected("at most " + available.name())
        .got(wanted);
    return isa;
  }
  throw Error(ErrorKind::kUsage, "unknown instruction set")
      .where("PAN_ISA")
      .expected("baseline, avx2, avx512, avx512_bf16 or amx")
      .got(wanted);
}

const Isa& isa() {
  static const Isa chosen = [] {
    const char* wanted = std::getenv("PAN_ISA");
    return choose_isa(wanted == nullptr ? "" : wanted, detect_isa());
  }();
  return chosen;
}

}  // namespace pan::core
