// Rotary position embedding (Su et al., "RoFormer", 2021, eq. 34, in the half-split layout of Llama):
// frequencies with the linear and llama3 context extensions, and the rotation itself.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/arch.h"

namespace pan::model {

// Inverse frequencies [D/2] float32 of an architecture, scaling applied.
at::Tensor rope_frequencies(const Arch& arch, at::Device device);

struct RopeTable {
  at::Tensor cos, sin;  // [N, D/2]: float32 (float64 where the model computes in float64)
};
RopeTable rope_table(const at::Tensor& frequencies, const at::Tensor& positions, at::ScalarType compute);

// x [N, heads, D] (last dimension contiguous) -> [N, heads, D] contiguous, same type, computed in the table's
// type. Differentiable in x.
at::Tensor rope_rotate(const at::Tensor& x, const RopeTable& table);

}  // namespace pan::model
