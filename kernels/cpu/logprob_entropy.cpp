// Token log-probability and entropy: an online log-sum-exp over tiles of the vocabulary, no logits in memory.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/hot.h"
#include "kernels/cpu/logprob_backward.h"
#include "kernels/cpu/tasks.h"
#include "kernels/cpu/type_of.h"
#include "kernels/dispatch.h"

namespace pan::kernels::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Columns of the vocabulary that one task takes. Fixed: results must not depend on the number of threads.
constexpr int64_t kForwardColumns = 1024;
constexpr double kLog2E = 1.4426950408889634;
constexpr double kLn2 = 0.6931471805599453;

struct Forward {
  at::Tensor logprob;  // [N]
  at::Tensor entropy;  // [N]
  at::Tensor lse;      // [N]
};

// Merges the vocabulary's parts of rows [0, job.rows), in order.
void merge(const LogprobJob& job, int64_t num_parts, float* logprob, float* entropy, float* lse) {
  at::parallel_for(0, job.rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      auto part = [&](int64_t i, int64_t which) {
        return static_cast<double>(job.partial[(i * 3 + which) * job.rows + row]);
      };
      double max = part(0, 0);
      for (int64_t i = 1; i < num_parts; ++i) max = std::max(max, part(i, 0));
      double sum = 0, spread = 0;
      for (int64_t i = 0; i < num_parts; ++i) {
        const double below = max - part(i, 0), c = std::exp2(-below);
        sum += c * part(i, 1);
        spread += c * (part(i, 2) + below * part(i, 1));
      }
      logprob[row] =
          static_cast<float>((static_cast<double>(job.target_score[row]) - max) * kLn2 - std::log(sum));
      entropy[row] = static_cast<float>(std::log(sum) + spread / sum * kLn2);
      lse[row] = static_cast<float>(max * kLn2 + std::log(sum));
    }
  });
}

// Rows of a forward chunk: their packed hidden states and partial sums stay below chunk_bytes.
int64_t forward_rows(int64_t num_rows, int64_t size, int64_t num_parts, int64_t panel_rows,
                     int64_t chunk_bytes) {
  const int64_t row_bytes = (size + 3 * num_parts) * static_cast<int64_t>(sizeof(float));
  const int64_t panels = std::max<int64_t>(1, chunk_bytes / (row_bytes * panel_rows));
  return std::min(num_rows, panels * panel_rows);
}

at::Tensor rows_contiguous(const at::Tensor& x) { return x.stride(1) == 1 ? x : x.contiguous(); }

Forward forward_stats(const at::Tensor& any_hidden, const at::Tensor& any_weight, const at::Tensor& targets,
                      const LogprobOptions& options) {
  const HotKernels& kernels = hot();
  const at::Tensor hidden = rows_contiguous(any_hidden), weight = rows_contiguous(any_weight);
  const int64_t num_rows = hidden.size(0), size = hidden.size(1), vocab = weight.size(0);
  const int64_t num_parts = (vocab + kForwardColumns - 1) / kForwardColumns;
  Forward out{at::empty({num_rows}, at::kFloat), at::empty({num_rows}, at::kFloat),
              at::empty({num_rows}, at::kFloat)};
  if (num_rows == 0) return out;
  const int64_t chunk = forward_rows(num_rows, size, num_parts, kernels.panel_rows, options.chunk_bytes);
  const at::Tensor wanted = targets.contiguous();
  LogprobJob job{.hidden = nullptr,
                 .weight = weight.const_data_ptr(),
                 .type = type_of(hidden),
                 .hidden_stride = hidden.stride(0),
                 .weight_stride = weight.stride(0),
                 .rows = chunk,
                 .size = size,
                 .vocab = vocab,
                 .chunk = kForwardColumns,
                 .scale_log2 = static_cast<float>(kLog2E / options.temperature),
                 .targets = nullptr,
                 .packed = nullptr,
                 .partial = nullptr,
                 .target_score = nullptr};
  const int64_t packed_floats = kernels.logprob_packed_floats(job, chunk);
  const auto packed = aligned_scratch(static_cast<size_t>(packed_floats) * sizeof(float));
  std::vector<float> partial(static_cast<size_t>(num_parts * 3 * chunk)),
      target_score(static_cast<size_t>(chunk));
  job.packed = static_cast<float*>(packed.get());
  job.partial = partial.data();
  job.target_score = target_score.data();
  for (int64_t n = 0; n < num_rows; n += chunk) {
    job.rows = std::min(chunk, num_rows - n);
    job.hidden = hidden.slice(0, n, n + job.rows).const_data_ptr();
    job.targets = wanted.const_data_ptr<int64_t>() + n;
    const int64_t panels = (job.rows + kernels.panel_rows - 1) / kernels.panel_rows;
    run_tasks(panels, 0, [&](int64_t task, void*) { kernels.logprob_pack(job, task); });
    run_tasks(num_parts, kernels.logprob_scratch(job),
              [&](int64_t task, void* scratch) { kernels.logprob(job, task, scratch); });
    merge(job, num_parts, out.logprob.data_ptr<float>() + n, out.entropy.data_ptr<float>() + n,
          out.lse.data_ptr<float>() + n);
  }
  return out;
}

class LogprobFunction : public torch::autograd::Function<LogprobFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor& weight,
                               const at::Tensor& targets, double temperature, int64_t chunk_bytes,
                               bool entropy_gradient) {
    at::NoGradGuard no_grad;
    Forward out =
        forward_stats(hidden, weight, targets, {.temperature = temperature, .chunk_bytes = chunk_bytes});
    ctx->save_for_backward({hidden, weight, targets, out.lse, out.entropy});
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["chunk_bytes"] = chunk_bytes;
    ctx->saved_data["entropy_gradient"] = entropy_gradient;
    if (!entropy_gradient) ctx->mark_non_differentiable({out.entropy});
    return {out.logprob, out.entropy};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1], &targets = saved[2], &lse = saved[3],
                     &entropy = saved[4];
    const bool with_entropy = ctx->saved_data["entropy_gradient"].toBool() && grads[1].defined();
    auto gradient_or_zero = [&](const at::Tensor& gradient, bool wanted) {
      return wanted ? gradient.to(at::kFloat).contiguous() : at::zeros_like(lse);
    };
    const LogprobInputGradients out =
        logprob_backward({.hidden = hidden,
                          .weight = weight,
                          .targets = targets,
                          .lse = lse,
                          .entropy = entropy,
                          .grad_logprob = gradient_or_zero(grads[0], grads[0].defined()),
                          .grad_entropy = gradient_or_zero(grads[1], with_entropy),
                          .temperature = ctx->saved_data["temperature"].toDouble(),
                          .chunk_bytes = ctx->saved_data["chunk_bytes"].toInt()},
                         ctx->needs_input_grad(0), ctx->needs_input_grad(1));
    return {out.hidden, out.weight, {}, {}, {}, {}};
  }
};

}  // namespace

LogprobEntropy logprob_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                               const LogprobOptions& options) {
  variable_list out = LogprobFunction::apply(hidden, weight, targets, options.temperature,
                                             options.chunk_bytes, options.entropy_gradient);
  return {out[0], out[1]};
}

}  // namespace pan::kernels::cpu
