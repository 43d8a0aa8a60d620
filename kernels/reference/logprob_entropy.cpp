#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "kernels/reference/reference.h"

namespace pan::kernels::reference {

LogprobGradients logprob_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                 const at::Tensor& targets, double temperature,
                                 const at::Tensor& grad_logprob, const at::Tensor& grad_entropy) {
  const int64_t num_rows = hidden.size(0), size = hidden.size(1), vocab = weight.size(0);
  const at::Tensor h = hidden.to(at::kDouble).contiguous(), w = weight.to(at::kDouble).contiguous();
  const double *hp = h.const_data_ptr<double>(), *wp = w.const_data_ptr<double>();
  LogprobGradients out{at::zeros({num_rows}, at::kDouble), at::zeros({num_rows}, at::kDouble),
                       at::zeros_like(h), at::zeros_like(w)};
  double *gh = out.grad_hidden.data_ptr<double>(), *gw = out.grad_weight.data_ptr<double>();
  std::vector<double> z(static_cast<size_t>(vocab));
  for (int64_t n = 0; n < num_rows; ++n) {
    for (int64_t v = 0; v < vocab; ++v) {
      z[v] = 0;
      for (int64_t c = 0; c < size; ++c) z[v] += hp[n * size + c] * wp[v * size + c];
      z[v] /= temperature;
    }
    const double max = *std::max_element(z.begin(), z.end());
    double sum = 0, entropy = 0;
    for (double x : z) sum += std::exp(x - max);
    for (double& x : z) x = (x - max) - std::log(sum);  // log p
    for (double x : z) entropy -= std::exp(x) * x;
    const int64_t target = targets[n].item<int64_t>();
    out.logprob[n] = z[target];
    out.entropy[n] = entropy;
    const double gl = grad_logprob[n].item<double>(), ge = grad_entropy[n].item<double>();
    for (int64_t v = 0; v < vocab; ++v) {
      const double p = std::exp(z[v]);
      const double dz = gl * ((v == target) - p) - ge * p * (z[v] + entropy);
      for (int64_t c = 0; c < size; ++c) {
        gh[n * size + c] += dz * wp[v * size + c] / temperature;
        gw[v * size + c] += dz * hp[n * size + c] / temperature;
      }
    }
  }
  return out;
}

}  // namespace pan::kernels::reference
