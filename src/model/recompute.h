// Gradient checkpointing: a part of the forward pass that keeps its input alone and is computed again when
// its gradient is due (Chen et al. 2016, "Training deep nets with sublinear memory cost").
//
//   at::Tensor y = recomputed([=](const at::Tensor& x) { return block(x); }, x, block_parameters);
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace pan::model {

// part(x), differentiable with respect to x and `parameters`, which must be all tensors of the part that may
// take gradients. `part` is called at once without recording and again in the backward pass; it must be the
// same function of x and the parameters both times, and own or outlive what it captures. Both passes run the
// same operations on the same numbers, so the gradients are those of part(x) bit for bit. Without anything to
// differentiate: part(x).
at::Tensor recomputed(std::function<at::Tensor(const at::Tensor&)> part, const at::Tensor& x,
                      const std::vector<at::Tensor>& parameters);

}  // namespace pan::model
