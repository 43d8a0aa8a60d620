// Whether the attention kernels can do a piece of work, asked before it begins.
//
//   const auto support = kernels::supports({.device = at::kCUDA, .type = at::kBFloat16, .head_size = 320});
//   if (!support.yes) refuse(support.why_not);
//
// What is refused here is what row_stats, attention_band, attention_fai, anchor_mass and decode_attention
// refuse by c10::ValueError when they are called.
#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>

namespace pan::kernels {

struct AttentionWork {
  c10::DeviceType device = c10::kCPU;
  c10::ScalarType type = c10::kFloat;
  int64_t head_size = 0;      // D
  int64_t num_heads = 1;      // H
  int64_t num_key_heads = 1;  // Hkv
  int64_t num_tokens = 1;     // of a call, all sequences together
  int64_t band_lo = 0;        // of attention_band
  int64_t band_hi = 0;
};

struct Support {
  bool yes;
  std::string why_not;  // one sentence; empty where yes
};

Support supports(const AttentionWork& work);

}  // namespace pan::kernels
