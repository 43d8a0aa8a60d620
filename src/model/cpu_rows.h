// Normalisation, rotary embedding and gated activation on CPU in one pass over memory each, forward and
// backward: the composed ATen operations read and write the same rows five times. Rows are independent of
// each other and of the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

namespace pan::model::rows {

// Whether the functions below take `x`: on CPU, float32 or bfloat16, one to three dimensions, the last one
// contiguous.
bool supports(const at::Tensor& x);

// x [..., C] -> {y [..., C] contiguous, 1 / root mean square of each row [rows] float32}. Formula in norm.h.
std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
// {gradient of x, gradient of weight}; inverse as returned by rms_norm.
std::pair<at::Tensor, at::Tensor> rms_norm_backward(const at::Tensor& gradient, const at::Tensor& x,
                                                    const at::Tensor& weight, const at::Tensor& inverse);

// x [N, heads, D], cos and sin [N, D/2] float32 -> [N, heads, D] contiguous; `inverse` rotates back.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse);

// gate_up [N, 2 I] contiguous rows -> silu(gate) * up [N, I]; and its gradient [N, 2 I].
at::Tensor silu_mul(const at::Tensor& gate_up);
at::Tensor silu_mul_backward(const at::Tensor& gradient, const at::Tensor& gate_up);

}  // namespace pan::model::rows
