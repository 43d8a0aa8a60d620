#include "model/rope.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <numbers>

#include "model/cpu_rows.h"

namespace pan::model {
namespace {

// Llama 3.1's context extension: long waves are slowed by `factor`, short ones kept, those between blended.
double llama3_frequency(double frequency, const Rope& rope) {
  const double context = static_cast<double>(rope.original_context);
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength > context / rope.low_freq_factor) return frequency / rope.factor;
  if (wavelength < context / rope.high_freq_factor) return frequency;
  const double smooth =
      (context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1.0 - smooth) * frequency / rope.factor + smooth * frequency;
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse) {
  if (rows::supports(x) && cos.scalar_type() == at::kFloat) return rows::rotate(x, cos, sin, inverse);
  const int64_t half = x.size(2) / 2;
  const at::Tensor c = cos.unsqueeze(1),
                   s = inverse ? sin.unsqueeze(1).neg() : sin.unsqueeze(1);  // [N, 1, D/2]
  const at::Tensor a = x.narrow(2, 0, half), b = x.narrow(2, half, half);
  at::Tensor out = at::empty(x.sizes(), x.options());
  out.narrow(2, 0, half).copy_(a * c - b * s);
  out.narrow(2, half, half).copy_(b * c + a * s);
  return out;
}

class RotateFunction : public torch::autograd::Function<RotateFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& cos, const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotate(x, cos, sin, false);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    return {rotate(gradients[0], saved[0], saved[1], true), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rope_frequencies(const Arch& arch, at::Device device) {
  const int64_t half = arch.head_dim / 2;
  at::Tensor frequencies = at::empty({half}, at::kFloat);
  float* out = frequencies.mutable_data_ptr<float>();
  for (int64_t i = 0; i < half; ++i) {
    double f = std::pow(arch.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(arch.head_dim));
    if (arch.rope.type == RopeType::kLinear) f /= arch.rope.factor;
    if (arch.rope.type == RopeType::kLlama3) f = llama3_frequency(f, arch.rope);
    out[i] = static_cast<float>(f);
  }
  return frequencies.to(device);
}

RopeTable rope_table(const at::Tensor& frequencies, const at::Tensor& positions, at::ScalarType compute) {
  const at::ScalarType type = compute == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor angles = positions.to(type).unsqueeze(1) * frequencies.to(type).unsqueeze(0);  // [N, D/2]
  return {angles.cos(), angles.sin()};
}

at::Tensor rope_rotate(const at::Tensor& x, const RopeTable& table) {
  if (x.requires_grad() && c10::GradMode::is_enabled()) return RotateFunction::apply(x, table.cos, table.sin);
  return rotate(x, table.cos, table.sin, false);
}

}  // namespace pan::model
