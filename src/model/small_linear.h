// Matrix products with few rows: the shape of token-by-token generation, where general libraries leave most
// of the memory bandwidth unused.
#pragma once

#include <ATen/core/Tensor.h>

namespace pan::model {

// y = x weight^T + bias: x [M, K], weight [N, K], bias [N] or undefined -> [M, N], in the type of x, or in
// float32 where `wide` is set: products of bfloat16 numbers are summed in float32 and then rounded once, or
// not at all. Not differentiable. On CPU, for float32 and bfloat16 and at most kSmallRows rows (any number
// for wide bfloat16), a row's result depends on no other row and not on the number of threads. Everything
// else goes to the library.
inline constexpr int64_t kSmallRows = 64;
at::Tensor small_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                        bool wide = false);

}  // namespace pan::model
