#include "model/norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace pan::model {
namespace {

at::ScalarType accumulate_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// Returns the result and 1 / root mean square [..., 1].
std::pair<at::Tensor, at::Tensor> forward_pass(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(accumulate_type(x));
  const at::Tensor inverse = wide.square().mean(-1, true).add_(eps).rsqrt_();
  return {(wide * inverse).to(x.scalar_type()).mul(weight).contiguous(), inverse};
}

class NormFunction : public torch::autograd::Function<NormFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, double eps) {
    const auto [y, inverse] = forward_pass(x, weight, eps);
    context->save_for_backward({x, weight, inverse});
    return y;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::ScalarType type = accumulate_type(saved[0]);
    const at::Tensor gradient = gradients[0].to(type), normal = saved[0].to(type) * saved[2];
    const at::Tensor scaled = gradient * saved[1].to(type);
    const at::Tensor dx = (scaled - normal * (scaled * normal).mean(-1, true)) * saved[2];
    const at::Tensor dweight = (gradient * normal).reshape({-1, saved[1].size(0)}).sum(0);
    return {dx.to(saved[0].scalar_type()), dweight.to(saved[1].scalar_type()), at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (c10::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad()))
    return NormFunction::apply(x, weight, eps);
  return forward_pass(x, weight, eps).first;
}

}  // namespace pan::model
