// The instruction set of the CPU code, chosen once at run time.
//
//   if (kernels::active_isa() == kernels::Isa::avx512) ...
//   if (auto problem = kernels::isa_problem()) ...   // what is wrong with PAN_ISA, asked before anything
//   runs
//
// Hot loops are compiled three times; the best one that the processor and the operating system support is
// used. The environment variable PAN_ISA (baseline | avx2 | avx512 | avx512_bf16 | amx) asks for less, e.g.
// to compare results across machines. It decides about the code of this program only; the libraries inside
// LibTorch have variables of their own (ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA).
#pragma once

#include <optional>
#include <string>

namespace pan::kernels {

// avx2 means AVX2 + FMA + F16C; avx512 means F, BW, CD, DQ, VL besides.
enum class Isa { baseline, avx2, avx512 };

// "baseline", "avx2" or "avx512".
const char* isa_name(Isa isa);

struct IsaSet {
  Isa level = Isa::baseline;
  bool bf16 = false;  // AVX512_BF16; only with avx512
  bool amx = false;   // AMX_BF16; only with bf16. Used by LibTorch's libraries, not by code of ours

  // "baseline", "avx2", "avx512", "avx512_bf16" or "amx"
  std::string name() const;
};

// What the processor and the operating system offer.
IsaSet detect_isa();

struct IsaProblem {
  std::string what, expected, got;
};

// Why `wanted`, a value of PAN_ISA, cannot be used on a machine that offers `available`; nothing where it can
// (an empty text is no wish).
std::optional<IsaProblem> isa_problem(const std::string& wanted, const IsaSet& available);
// The same of this process and this machine.
std::optional<IsaProblem> isa_problem();

// `wanted` as PAN_ISA would give it; empty: `available`. Throws c10::ValueError where isa_problem() has one.
IsaSet choose_isa(const std::string& wanted, const IsaSet& available);

// What is used: detect_isa() or the set that PAN_ISA names. Read once; errors as in choose_isa().
const IsaSet& active_isa_set();
inline Isa active_isa() { return active_isa_set().level; }

// The best level that this machine supports, PAN_ISA aside.
Isa best_isa();

// Whether code that multiplies bfloat16 pairs is used (PAN_ISA observed); without it bfloat16 inputs are
// widened to float32.
inline bool has_native_bf16() { return active_isa_set().bf16; }

}  // namespace pan::kernels
