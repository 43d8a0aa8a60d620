// The instruction set of the CPU kernels, chosen once at run time.
//
// Hot loops are compiled three times; the best one that the processor and the operating system support is
// used. The environment variable PAN_ISA (baseline | avx2 | avx512) asks for a lower one, e.g. to compare
// results across machines.
#pragma once

namespace pan::kernels {

enum class Isa { baseline, avx2, avx512 };

// "baseline", "avx2" or "avx512".
const char* isa_name(Isa isa);

// The best set that this machine supports, PAN_ISA aside. avx2 means AVX2 + FMA + F16C; avx512 means F, BW,
// DQ, VL besides.
Isa best_isa();

// The set in use: best_isa() or the one PAN_ISA names. Read once. Throws c10::ValueError for an unknown name
// or for a set that this machine does not have.
Isa active_isa();

// Whether the processor multiplies bfloat16 pairs itself (AVX512_BF16); without it bfloat16 inputs are
// widened to float32.
bool has_native_bf16();

}  // namespace pan::kernels
