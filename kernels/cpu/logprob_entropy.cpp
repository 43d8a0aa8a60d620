// Token log-probability and entropy in blocks of rows and vocabulary. Forward: an online log-sum-exp over
// vocabulary blocks. Backward: the block's logits are recomputed, turned into their gradient in place, and
// multiplied on.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "kernels/dispatch.h"

namespace pan::kernels::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A block of the vocabulary holds at most this many columns; its float32 weights stay near the caches.
constexpr int64_t kMaxColumns = 4096;

struct Blocks {
  int64_t rows;
  int64_t columns;
};

Blocks plan_blocks(int64_t num_rows, int64_t num_columns, int64_t chunk_bytes) {
  const int64_t columns = std::min(num_columns, kMaxColumns);
  const int64_t rows = std::max<int64_t>(1, chunk_bytes / (columns * static_cast<int64_t>(sizeof(float))));
  return {std::min(std::max<int64_t>(num_rows, 1), rows), columns};
}

struct Forward {
  at::Tensor logprob;  // [N]
  at::Tensor entropy;  // [N]
  at::Tensor lse;      // [N]
};

Forward forward_stats(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                      const LogprobOptions& options) {
  const int64_t num_rows = hidden.size(0), vocab = weight.size(0);
  const Blocks blocks = plan_blocks(num_rows, vocab, options.chunk_bytes);
  const auto floats = hidden.options().dtype(at::kFloat);
  at::Tensor h = hidden.to(at::kFloat) / options.temperature;
  at::Tensor max = at::full({num_rows}, -std::numeric_limits<float>::infinity(), floats);
  at::Tensor sum = at::zeros({num_rows}, floats), spread = at::zeros({num_rows}, floats);
  at::Tensor target_logit = at::zeros({num_rows}, floats);
  for (int64_t v = 0; v < vocab; v += blocks.columns) {
    const int64_t v_end = std::min(vocab, v + blocks.columns);
    at::Tensor w = weight.slice(0, v, v_end).to(at::kFloat);
    for (int64_t n = 0; n < num_rows; n += blocks.rows) {
      const int64_t n_end = std::min(num_rows, n + blocks.rows);
      at::Tensor logits = at::mm(h.slice(0, n, n_end), w.t());
      at::Tensor m = max.slice(0, n, n_end), l = sum.slice(0, n, n_end), s = spread.slice(0, n, n_end);
      at::Tensor m_new = at::maximum(m, logits.amax(1));
      at::Tensor c = (m - m_new).exp();
      at::Tensor d = m_new.unsqueeze(1) - logits, p = (-d).exp();
      at::Tensor shift = at::where(l > 0, (m_new - m) * l, at::zeros({}, floats));
      s.copy_(c * (s + shift) + (p * d).sum(1));
      l.copy_(c * l + p.sum(1));
      m.copy_(m_new);
      at::Tensor column = targets.slice(0, n, n_end) - v;
      at::Tensor here = (column >= 0).logical_and(column < v_end - v);
      at::Tensor picked = logits.gather(1, column.clamp(0, v_end - v - 1).unsqueeze(1)).squeeze(1);
      target_logit.slice(0, n, n_end).copy_(at::where(here, picked, target_logit.slice(0, n, n_end)));
    }
  }
  at::Tensor lse = max + sum.log();
  return {(target_logit - max) - sum.log(), sum.log() + spread / sum, lse};
}

// Turns a block of logits into the gradient of the loss with respect to these (temperature-scaled) logits, in
// place.
void logits_to_gradient(at::Tensor& logits, const at::Tensor& lse, const at::Tensor& entropy,
                        const at::Tensor& targets, const at::Tensor& grad_logprob,
                        const at::Tensor& grad_entropy, int64_t first_column) {
  at::Tensor logp = logits.sub_(lse.unsqueeze(1));
  at::Tensor p = logp.exp();
  if (grad_entropy.defined()) {
    logp.add_(entropy.unsqueeze(1)).mul_(grad_entropy.unsqueeze(1)).add_(grad_logprob.unsqueeze(1));
    logits.mul_(p).neg_();
  } else {
    logits.copy_(p.mul_(-grad_logprob.unsqueeze(1)));
  }
  at::Tensor column = targets - first_column;
  at::Tensor here = (column >= 0).logical_and(column < logits.size(1));
  at::Tensor add = at::where(here, grad_logprob, at::zeros({}, grad_logprob.options()));
  logits.scatter_add_(1, column.clamp(0, logits.size(1) - 1).unsqueeze(1), add.unsqueeze(1));
}

class LogprobFunction : public torch::autograd::Function<LogprobFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor& weight,
                               const at::Tensor& targets, double temperature, int64_t chunk_bytes,
                               bool entropy_gradient) {
    at::NoGradGuard no_grad;
    Forward out = forward_stats(hidden, weight, targets, {temperature, chunk_bytes, entropy_gradient});
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
    const double temperature = ctx->saved_data["temperature"].toDouble();
    const bool with_entropy = ctx->saved_data["entropy_gradient"].toBool() && grads[1].defined();
    const int64_t num_rows = hidden.size(0), vocab = weight.size(0);
    const Blocks blocks = plan_blocks(num_rows, vocab, ctx->saved_data["chunk_bytes"].toInt());
    const auto floats = hidden.options().dtype(at::kFloat);
    const bool to_hidden = ctx->needs_input_grad(0), to_weight = ctx->needs_input_grad(1);

    at::Tensor h = hidden.to(at::kFloat) / temperature;
    at::Tensor grad_logprob = grads[0].defined() ? grads[0].to(at::kFloat) : at::zeros({num_rows}, floats);
    at::Tensor grad_entropy = with_entropy ? grads[1].to(at::kFloat) : at::Tensor();
    at::Tensor grad_h = to_hidden ? at::zeros({num_rows, hidden.size(1)}, floats) : at::Tensor();
    at::Tensor grad_w = to_weight ? at::empty_like(weight) : at::Tensor();
    for (int64_t v = 0; v < vocab; v += blocks.columns) {
      const int64_t v_end = std::min(vocab, v + blocks.columns);
      at::Tensor w = weight.slice(0, v, v_end).to(at::kFloat);
      at::Tensor block_grad_w = to_weight ? at::zeros({v_end - v, weight.size(1)}, floats) : at::Tensor();
      for (int64_t n = 0; n < num_rows; n += blocks.rows) {
        const int64_t n_end = std::min(num_rows, n + blocks.rows);
        auto rows = [&](const at::Tensor& x) { return x.defined() ? x.slice(0, n, n_end) : x; };
        at::Tensor logits = at::mm(rows(h), w.t());
        logits_to_gradient(logits, rows(lse), rows(entropy), rows(targets), rows(grad_logprob),
                           rows(grad_entropy), v);
        if (to_hidden) rows(grad_h).addmm_(logits, w);
        if (to_weight) block_grad_w.addmm_(logits.t(), rows(h));
      }
      if (to_weight) grad_w.slice(0, v, v_end).copy_(block_grad_w);
    }
    if (to_hidden) grad_h = (grad_h / temperature).to(hidden.scalar_type());
    return {grad_h, grad_w, {}, {}, {}, {}};
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
