// Token log-probability and entropy beside the same composed in ATen, which holds the logits.
#include <c10/core/GradMode.h>

#include <algorithm>

#include "kernels/bench/bench.h"
#include "kernels/logprob_entropy.h"

namespace pan::kernels::bench {
namespace {

using pan::bench::median_ms;

struct OutputMatrix {
  const char* name;
  int64_t vocab, width;
};
constexpr OutputMatrix kMatrices[] = {{"SmolLM2-135M", 49152, 576}, {"Qwen2.5-0.5B", 151936, 896}};

LogprobEntropy composed(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets) {
  const at::Tensor logprobs = at::log_softmax(at::mm(hidden, weight.t()), -1, at::kFloat);  // [N, V]
  const at::Tensor detached = logprobs.detach();
  return {logprobs.gather(1, targets.unsqueeze(1)).squeeze(1), -(detached.exp() * detached).sum(-1)};
}

std::vector<Cell> measure(const OutputMatrix& matrix, int64_t rows, at::ScalarType type,
                          const Settings& settings, const Peaks& peaks) {
  at::manual_seed(1);
  const auto random = [&](int64_t count, double scale) {
    return at::randn({count, matrix.width}).mul_(scale).to(settings.device, type).requires_grad_();
  };
  at::Tensor hidden = random(rows, 1), weight = random(matrix.vocab, 0.05);
  const at::Tensor targets = at::randint(matrix.vocab, {rows}, at::kLong).to(settings.device);
  const auto ours = [&] { return logprob_entropy(hidden, weight, targets, {}); };
  const auto plain = [&] { return composed(hidden, weight, targets); };
  struct Figures {
    double forward_mb, forward_ms, both_mb, both_ms;
  };
  const auto figures = [&](const auto& call, const pan::bench::TimingOptions& timing) {
    const auto forward = [&] {
      const c10::NoGradGuard no_grad;
      call();
    };
    const auto both = [&] {
      call().logprob.sum().backward();
      hidden.mutable_grad().reset();
      weight.mutable_grad().reset();
    };
    return Figures{peak_mb(forward, settings.device), median_ms(forward, timing),
                   peak_mb(both, settings.device), median_ms(both, timing)};
  };
  const Figures a = figures(ours, settings.timing()), b = figures(plain, settings.slow_timing());
  const double gflops = 2e-6 * static_cast<double>(rows * matrix.vocab * matrix.width) / a.forward_ms;
  return {text("matrix of", matrix.name),
          text("type", type_name(type)),
          number("rows", static_cast<double>(rows), 0),
          number("forward ms", a.forward_ms, 1),
          number("composed ms", b.forward_ms, 1),
          number("forward MB", a.forward_mb, 1),
          number("composed MB", b.forward_mb, 1),
          number("forward+backward ms", a.both_ms, 1),
          number("composed both ms", b.both_ms, 1),
          number("forward+backward MB", a.both_mb, 1),
          number("composed both MB", b.both_mb, 1),
          number("forward GFLOP/s", gflops, 0),
          number("roofline %", 100 * gflops / peaks.of(type), 0)};
}

}  // namespace

Table logprob_section(const Settings& settings, const Peaks& peaks) {
  Table table(
      "logprob",
      "Token log-probability and entropy, beside mm, log_softmax, gather and entropy in ATen. FLOPs of the "
      "forward: 2 rows V C.\n"
      "The backward makes both gradients (they are part of its MB: that of the matrix alone is 108 and 519 "
      "MB in float32, half of it in\nbfloat16) and computes the logits again; the composed one holds them.");
  const bool gpu = settings.device.is_cuda();
  for (const OutputMatrix& matrix : kMatrices) {
    const int64_t rows = gpu ? 4096 : matrix.vocab > 100000 ? 64 : 341;
    for (at::ScalarType type : {at::kFloat, at::kBFloat16})
      table.add(measure(matrix, settings.quick ? rows / 4 : rows, type, settings, peaks));
  }
  return table;
}

}  // namespace pan::kernels::bench
