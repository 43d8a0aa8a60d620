#include "model/norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/cpu_rows.h"

namespace pan::model {
namespace {

at::ScalarType accumulate_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// The composed form, for every device and type. Returns the result and 1 / root mean square [..., 1].
std::pair<at::Tensor, at::Tensor> composed(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(accumulate_type(x));
  const at::Tensor inverse = wide.square().mean(-1, true).add_(eps).rsqrt_();
  return {(wide * inverse).to(x.scalar_type()).mul(weight).contiguous(), inverse};
}

std::pair<at::Tensor, at::Tensor> composed_backward(const at::Tensor& dy, const at::Tensor& x,
                                                    const at::Tensor& weight, const at::Tensor& inverse) {
  const at::ScalarType type = accumulate_type(x);
  const at::Tensor gradient = dy.to(type), normal = x.to(type) * inverse;
  const at::Tensor scaled = gradient * weight.to(type);
  const at::Tensor dx = (scaled - normal * (scaled * normal).mean(-1, true)) * inverse;
  const at::Tensor dweight = (gradient * normal).reshape({-1, weight.size(0)}).sum(0);
  return {dx.to(x.scalar_type()), dweight.to(weight.scalar_type())};
}

std::pair<at::Tensor, at::Tensor> forward_pass(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return rows::supports(x) ? rows::rms_norm(x, weight, eps) : composed(x, weight, eps);
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
    const auto [dx, dweight] = rows::supports(saved[0])
                                   ? rows::rms_norm_backward(gradients[0], saved[0], saved[1], saved[2])
                                   : composed_backward(gradients[0], saved[0], saved[1], saved[2]);
    return {dx, dweight, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (c10::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad()))
    return NormFunction::apply(x, weight, eps);
  return forward_pass(x, weight, eps).first;
}

}  // namespace pan::model
