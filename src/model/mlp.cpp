#include "model/mlp.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/cpu_rows.h"

namespace pan::model {
namespace {

at::Tensor forward_pass(const at::Tensor& gate_up) {
  if (rows::supports(gate_up)) return rows::silu_mul(gate_up);
  const int64_t width = gate_up.size(1) / 2;
  return at::silu(gate_up.narrow(1, 0, width)).mul_(gate_up.narrow(1, width, width));
}

class SiluMulFunction : public torch::autograd::Function<SiluMulFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gate_up) {
    context->save_for_backward({gate_up});
    return forward_pass(gate_up);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const at::Tensor gate_up = context->get_saved_variables()[0];
    if (rows::supports(gate_up)) return {rows::silu_mul_backward(gradients[0], gate_up)};
    const int64_t width = gate_up.size(1) / 2;
    const at::Tensor gate = gate_up.narrow(1, 0, width), up = gate_up.narrow(1, width, width);
    at::Tensor out = at::empty_like(gate_up);
    out.narrow(1, 0, width).copy_(at::silu_backward(gradients[0] * up, gate));
    out.narrow(1, width, width).copy_(at::silu(gate).mul_(gradients[0]));
    return {out};
  }
};

}  // namespace

at::Tensor silu_mul(const at::Tensor& gate_up) {
  if (c10::GradMode::is_enabled() && gate_up.requires_grad()) return SiluMulFunction::apply(gate_up);
  return forward_pass(gate_up);
}

}  // namespace pan::model
