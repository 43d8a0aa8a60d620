#include "kernels/isa.h"

#include <c10/util/Exception.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pan::kernels {
namespace {

constexpr std::array<std::pair<const char*, IsaSet>, 5> kNames = {
    {{"baseline", {}},
     {"avx2", {Isa::avx2, false, false}},
     {"avx512", {Isa::avx512, false, false}},
     {"avx512_bf16", {Isa::avx512, true, false}},
     {"amx", {Isa::avx512, true, true}}}};

size_t rank_of(const IsaSet& set) {
  if (set.level != Isa::avx512) return static_cast<size_t>(set.level);
  return set.amx ? 4 : set.bf16 ? 3 : 2;
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

std::string wish() {
  const char* wanted = std::getenv("PAN_ISA");
  return wanted == nullptr ? "" : wanted;
}

}  // namespace

const char* isa_name(Isa isa) { return kNames[static_cast<size_t>(isa)].first; }

std::string IsaSet::name() const { return kNames[rank_of(*this)].first; }

IsaSet detect_isa() {
  IsaSet found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  found.level = avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::baseline;
  found.bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  found.amx = found.bf16 && has_amx_bf16();
#endif
  return found;
}

std::optional<IsaProblem> isa_problem(const std::string& wanted, const IsaSet& available) {
  if (wanted.empty()) return std::nullopt;
  for (const auto& [name, set] : kNames) {
    if (wanted != name) continue;
    if (rank_of(set) <= rank_of(available)) return std::nullopt;
    return IsaProblem{"the processor does not have this instruction set", "at most " + available.name(),
                      wanted};
  }
  return IsaProblem{"unknown instruction set", "baseline, avx2, avx512, avx512_bf16 or amx", wanted};
}

std::optional<IsaProblem> isa_problem() { return isa_problem(wish(), detect_isa()); }

IsaSet choose_isa(const std::string& wanted, const IsaSet& available) {
  const auto problem = isa_problem(wanted, available);
  TORCH_CHECK_VALUE(!problem, "PAN_ISA=", problem->got, ": ", problem->what, "; expected ",
                    problem->expected);
  for (const auto& [name, set] : kNames)
    if (wanted == name) return set;
  return available;
}

const IsaSet& active_isa_set() {
  static const IsaSet chosen = choose_isa(wish(), detect_isa());
  return chosen;
}

Isa best_isa() { return detect_isa().level; }

}  // namespace pan::kernels
