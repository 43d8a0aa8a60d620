// The gated feed-forward layer: down(silu(gate(x)) * up(x)), gate and up in one product.
#pragma once

#include <ATen/core/Tensor.h>

namespace pan::model {

// gate_up [N, 2 I], gate first -> silu(gate) * up [N, I]. Differentiable.
at::Tensor silu_mul(const at::Tensor& gate_up);

}  // namespace pan::model
