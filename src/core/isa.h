// The processor's instruction set, found at run time; hot files are compiled for several and chosen by it.
//
//   if (core::isa().level >= core::IsaLevel::kAvx512) ...
#pragma once

#include <string>

namespace pan::core {

enum class IsaLevel {
  kBaseline = 0,  // what every processor of the architecture has
  kAvx2 = 1,      // AVX2, FMA, F16C
  kAvx512 = 2,    // AVX-512 F, BW, CD, DQ, VL
};

struct Isa {
  IsaLevel level = IsaLevel::kBaseline;
  bool avx512_bf16 = false;  // only with kAvx512
  bool amx_bf16 = false;     // only with avx512_bf16

  // "baseline", "avx2", "avx512", "avx512_bf16" or "amx"
  std::string name() const;
};

// What the processor and the operating system offer.
Isa detect_isa();

// What is used: detect_isa(), or what the environment variable PAN_ISA names. Found once per process.
// Errors: kUsage when PAN_ISA is an unknown name or more than the processor has.
const Isa& isa();

// `wanted` as PAN_ISA would give it, checked against `available`. Empty: `available`.
Isa choose_isa(const std::string& wanted, const Isa& available);

}  // namespace pan::core
