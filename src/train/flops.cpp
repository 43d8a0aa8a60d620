#include "train/flops.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "core/stopwatch.h"

namespace pan::train {

double forward_flops(const model::Arch& a, const std::vector<rl::TrainSequence>& sequences, bool head) {
  const auto c = static_cast<double>(a.hidden_size), d = static_cast<double>(a.head_dim),
             h = static_cast<double>(a.num_heads), kv = static_cast<double>(a.num_kv_heads),
             layers = static_cast<double>(a.num_layers);
  const double layer_weights =
      c * (h + 2 * kv) * d + h * d * c + 3 * c * static_cast<double>(a.intermediate_size);
  double flops = 0;
  for (const rl::TrainSequence& s : sequences) {
    const auto n = static_cast<double>(s.tokens.size());
    flops += layers * (2 * layer_weights * n + 4 * h * d * n * (n + 1) / 2);
    if (head) flops += 2 * c * static_cast<double>(a.vocab_size) * static_cast<double>(s.response_length());
  }
  return flops;
}

double measured_peak_flops(at::Device device, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const int64_t n = device.is_cuda() ? 8192 : 768;
  const at::Tensor a = at::ones({n, n}, at::TensorOptions().dtype(dtype).device(device));
  double best = 0;
  for (int i = 0; i < 4; ++i) {
    const core::Stopwatch watch;
    at::mm(a, a)[0][0].item<double>();  // waits for the device
    const double seconds = watch.seconds();
    if (i > 0)
      best = std::max(
          best, 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / seconds);
  }
  return best;
}

}  // namespace pan::train
