// Root mean square normalisation (Zhang and Sennrich, 2019, eq. 4).
#pragma once

#include <ATen/core/Tensor.h>

namespace pan::model {

// y = x / sqrt(mean(x^2) + eps) * weight over the last dimension, statistics in float32 (float64 for float64
// inputs); bfloat16 rounds the normalised value before the product, as transformers does. x [..., C] with a
// contiguous last dimension, weight [C] of the same type. Returns a contiguous tensor. Differentiable in
// both.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace pan::model
