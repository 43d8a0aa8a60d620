// Token log-probability and entropy on a GPU: tiles of logits by cuBLAS, reduced row by row before the next.
//
// A tile is kPanelRows rows by kTileColumns of the vocabulary, whatever the batch and chunk_bytes: the last
// rows are padded, so that a row's value does not depend on how many others there are (cuBLAS chooses its
// algorithm by shape). 16 MB of logits stay in the second-level cache until they have been reduced.
#include "kernels/logprob_entropy.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "kernels/cuda/host.h"
#include "kernels/cuda/tasks.h"
#include "kernels/dispatch.h"

namespace pan::kernels::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Forward {
  at::Tensor logprob;  // [N]
  at::Tensor entropy;  // [N]
  at::Tensor lse;      // [N]
};

at::Tensor rows_contiguous(const at::Tensor& x) { return x.stride(1) == 1 ? x : x.contiguous(); }

// Rows [begin, begin + kPanelRows) of x, zeros after its end.
at::Tensor padded_panel(const at::Tensor& x, int64_t begin) {
  const int64_t rows = std::min(kPanelRows, x.size(0) - begin);
  if (rows == kPanelRows) return x.narrow(0, begin, rows);
  at::Tensor panel = at::zeros({kPanelRows, x.size(1)}, x.options());
  panel.narrow(0, 0, rows).copy_(x.narrow(0, begin, rows));
  return panel;
}

Forward forward_stats(const at::Tensor& any_hidden, const at::Tensor& any_weight, const at::Tensor& targets,
                      double temperature) {
  // Contiguous, as the padded last panel is: cuBLAS may choose its algorithm by the leading dimension too.
  const at::Tensor hidden = any_hidden.contiguous(), weight = rows_contiguous(any_weight);
  const int64_t num_rows = hidden.size(0), vocab = weight.size(0);
  const at::TensorOptions floats = hidden.options().dtype(at::kFloat);
  Forward out{at::empty({num_rows}, floats), at::empty({num_rows}, floats), at::empty({num_rows}, floats)};
  if (num_rows == 0) return out;
  const at::Tensor wanted = targets.contiguous();
  const at::Tensor state = at::empty({4 * kPanelRows}, floats);
  const at::Tensor tile = at::empty({kPanelRows * std::min(kTileColumns, vocab)}, floats);
  const Stream stream = stream_of(hidden);
  for (int64_t n = 0; n < num_rows; n += kPanelRows) {
    const int rows = static_cast<int>(std::min(kPanelRows, num_rows - n));
    const at::Tensor panel = padded_panel(hidden, n);
    for (int64_t v = 0; v < vocab; v += kTileColumns) {
      const int64_t columns = std::min(kTileColumns, vocab - v);
      at::Tensor logits = tile.narrow(0, 0, kPanelRows * columns).view({kPanelRows, columns});
      product(logits, panel, weight.narrow(0, v, columns).t());
      const device::LogprobReduceJob job{logits.const_data_ptr(),
                                         columns,
                                         v,
                                         static_cast<int32_t>(columns),
                                         v == 0 ? 1 : 0,
                                         static_cast<float>(kLog2E / temperature),
                                         wanted.const_data_ptr<int64_t>() + n,
                                         state.mutable_data_ptr<float>()};
      check_launch(launch_logprob_reduce(job, rows, stream), "logprob_reduce");
    }
    const device::LogprobFinishJob job{
        state.const_data_ptr<float>(), rows, out.logprob.mutable_data_ptr<float>() + n,
        out.entropy.mutable_data_ptr<float>() + n, out.lse.mutable_data_ptr<float>() + n};
    check_launch(launch_logprob_finish(job, stream), "logprob_finish");
  }
  return out;
}

struct Saved {
  at::Tensor hidden, weight, targets;                   // rows contiguous
  at::Tensor lse, entropy, grad_logprob, grad_entropy;  // [N] float32, contiguous
  double temperature;
};

// Gradient of the logits of a tile, in the type that the next products take: bfloat16 for bfloat16 inputs,
// as a plain backward pass rounds it; float32 for the others (a float16 would lose small probabilities).
at::Tensor tile_gradient(const Saved& in, int64_t n, int64_t rows, int64_t v, int64_t columns,
                         const at::Tensor& logits_buffer, const at::Tensor& narrow_buffer) {
  at::Tensor logits = logits_buffer.narrow(0, 0, rows * columns).view({rows, columns});
  product(logits, in.hidden.narrow(0, n, rows), in.weight.narrow(0, v, columns).t());
  const bool is_bf16 = in.hidden.scalar_type() == at::kBFloat16;
  const at::Tensor out = is_bf16 ? narrow_buffer.narrow(0, 0, rows * columns).view({rows, columns}) : logits;
  const auto part = [n](const at::Tensor& x) { return x.const_data_ptr<float>() + n; };
  const device::LogprobGradientJob job{logits.const_data_ptr(),
                                       out.mutable_data_ptr(),
                                       columns,
                                       columns,
                                       v,
                                       static_cast<int32_t>(columns),
                                       static_cast<float>(kLog2E / in.temperature),
                                       static_cast<float>(1 / in.temperature),
                                       in.targets.const_data_ptr<int64_t>() + n,
                                       part(in.lse),
                                       part(in.entropy),
                                       part(in.grad_logprob),
                                       part(in.grad_entropy)};
  check_launch(launch_logprob_gradient(is_bf16 ? ElementType::bfloat16 : ElementType::float32, job,
                                       static_cast<int>(rows), stream_of(in.hidden)),
               "logprob_gradient");
  return out;
}

struct InputGradients {
  at::Tensor hidden, weight;
};

InputGradients backward_tiles(const Saved& in, int64_t chunk_bytes, bool to_hidden, bool to_weight) {
  const int64_t num_rows = in.hidden.size(0), size = in.hidden.size(1), vocab = in.weight.size(0);
  const at::ScalarType type = in.hidden.scalar_type();
  const at::TensorOptions floats = in.hidden.options().dtype(at::kFloat);
  InputGradients out;
  at::Tensor grad_hidden;
  if (to_hidden) grad_hidden = at::zeros({num_rows, size}, floats);
  if (to_weight) out.weight = num_rows > 0 ? at::empty_like(in.weight) : at::zeros_like(in.weight);
  const int64_t width = std::min(kTileColumns, vocab);
  const int64_t chunk = logprob_backward_rows(num_rows, vocab, chunk_bytes, type == at::kBFloat16 ? 6 : 4);
  const at::Tensor logits = at::empty({chunk * width}, floats);
  at::Tensor narrow;
  if (type == at::kBFloat16) narrow = at::empty({chunk * width}, in.hidden.options());
  // What the gradient of the logits is multiplied with, in its type.
  const auto operand = [&](const at::Tensor& x) { return type == at::kHalf ? x.to(at::kFloat) : x; };
  for (int64_t v = 0; v < vocab && num_rows > 0; v += kTileColumns) {
    const int64_t columns = std::min(kTileColumns, vocab - v);
    const at::Tensor block = operand(in.weight.narrow(0, v, columns));
    at::Tensor grad_block;
    for (int64_t n = 0; n < num_rows; n += chunk) {
      const int64_t rows = std::min(chunk, num_rows - n);
      const at::Tensor gradient = tile_gradient(in, n, rows, v, columns, logits, narrow);
      if (to_hidden) {
        at::Tensor part = at::empty({rows, size}, floats);
        product(part, gradient, block);
        grad_hidden.narrow(0, n, rows).add_(part);
      }
      if (to_weight) {
        at::Tensor part = at::empty({columns, size}, floats);
        product(part, gradient.t(), operand(in.hidden.narrow(0, n, rows)));
        grad_block = grad_block.defined() ? grad_block.add_(part) : part;
      }
    }
    if (to_weight) out.weight.narrow(0, v, columns).copy_(grad_block);
  }
  if (to_hidden) out.hidden = grad_hidden.to(type);
  return out;
}

class LogprobFunction : public torch::autograd::Function<LogprobFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor& weight,
                               const at::Tensor& targets, double temperature, int64_t chunk_bytes,
                               bool entropy_gradient) {
    at::NoGradGuard no_grad;
    const c10::DeviceGuard guard(hidden.device());
    const Forward out = forward_stats(hidden, weight, targets, temperature);
    ctx->save_for_backward({hidden, weight, targets, out.lse, out.entropy});
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["chunk_bytes"] = chunk_bytes;
    ctx->saved_data["entropy_gradient"] = entropy_gradient;
    if (!entropy_gradient) ctx->mark_non_differentiable({out.entropy});
    return {out.logprob, out.entropy};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const c10::DeviceGuard guard(saved[0].device());
    const bool with_entropy = ctx->saved_data["entropy_gradient"].toBool() && grads[1].defined();
    auto gradient_or_zero = [&](const at::Tensor& gradient, bool wanted) {
      return wanted ? gradient.to(at::kFloat).contiguous() : at::zeros_like(saved[3]);
    };
    const InputGradients out = backward_tiles(
        {rows_contiguous(saved[0]), rows_contiguous(saved[1]), saved[2].contiguous(), saved[3], saved[4],
         gradient_or_zero(grads[0], grads[0].defined()), gradient_or_zero(grads[1], with_entropy),
         ctx->saved_data["temperature"].toDouble()},
        ctx->saved_data["chunk_bytes"].toInt(), ctx->needs_input_grad(0), ctx->needs_input_grad(1));
    return {out.hidden, out.weight, {}, {}, {}, {}};
  }
};

}  // namespace

LogprobEntropy logprob_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                               const LogprobOptions& options) {
  const variable_list out = LogprobFunction::apply(hidden, weight, targets, options.temperature,
                                                   options.chunk_bytes, options.entropy_gradient);
  return {out[0], out[1]};
}

}  // namespace pan::kernels::cuda
