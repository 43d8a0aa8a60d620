// Backward pass of token log-probability and entropy: blocks of the vocabulary, chunks of rows inside.
#include "kernels/cpu/logprob_backward.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/cpu/hot.h"
#include "kernels/cpu/tasks.h"
#include "kernels/cpu/type_of.h"

namespace pan::kernels::cpu {
namespace {

constexpr int64_t kBlockColumns = 960;  // of the vocabulary; 20 tiles
constexpr int64_t kPieceRows = 240;     // rows of one product task
constexpr double kLog2E = 1.4426950408889634;

int64_t pieces(int64_t total, int64_t each) { return (total + each - 1) / each; }

using Scratch = c10::DataPtr;

// The working memory of one chunk of rows against one block of the vocabulary.
struct Buffers {
  Scratch packed, by_key, by_row, hidden_panels, weight_panels;
};

Scratch floats(int64_t count) { return aligned_scratch(static_cast<size_t>(count) * sizeof(float)); }

// Rows whose buffers stay below chunk_bytes, a multiple of a panel.
int64_t rows_of_chunk(int64_t num_rows, int64_t size, int64_t panel_rows, int64_t chunk_bytes) {
  const int64_t row_bytes = (2 * size + 2 * kBlockColumns) * static_cast<int64_t>(sizeof(float));
  return std::min(pieces(num_rows, panel_rows),
                  std::max<int64_t>(1, chunk_bytes / (row_bytes * panel_rows))) *
         panel_rows;
}

Buffers make_buffers(LogprobBackwardJob& job, int64_t rows, int64_t panel_rows) {
  const int64_t size = job.forward.size, element_panels = pieces(size, panel_rows);
  Buffers buffers;
  job.by_key_stride = rows;
  job.by_row_stride = kBlockColumns;
  job.hidden_panel_floats = rows * panel_rows;
  job.weight_panel_floats = kBlockColumns * panel_rows;
  buffers.packed = floats(rows * size);
  buffers.by_key = floats(kBlockColumns * rows);
  buffers.by_row = floats(rows * kBlockColumns);
  buffers.hidden_panels = floats(element_panels * job.hidden_panel_floats);
  buffers.weight_panels = floats(element_panels * job.weight_panel_floats);
  job.forward.packed = static_cast<float*>(buffers.packed.get());
  job.by_key = buffers.by_key.get();
  job.by_row = buffers.by_row.get();
  job.hidden_panels = static_cast<float*>(buffers.hidden_panels.get());
  job.weight_panels = static_cast<float*>(buffers.weight_panels.get());
  return buffers;
}

// One chunk of rows against one block: gradient of the logits, then both products.
void run_block(const HotKernels& kernels, const LogprobBackwardJob& job, bool pack_hidden) {
  const int64_t element_panels = pieces(job.forward.size, kernels.panel_rows);
  const int64_t row_panels = pack_hidden ? pieces(job.forward.rows, kernels.panel_rows) : 0;
  const int64_t hidden_panels = pack_hidden && job.grad_weight != nullptr ? element_panels : 0;
  const int64_t weight_panels = job.grad_hidden != nullptr ? element_panels : 0;
  run_tasks(row_panels + hidden_panels + weight_panels, 0, [&](int64_t task, void*) {
    if (task < row_panels) return kernels.logprob_pack(job.forward, task);
    if (task < row_panels + hidden_panels) return kernels.backward_pack_hidden(job, task - row_panels);
    kernels.backward_pack_weight(job, task - row_panels - hidden_panels);
  });
  const size_t scratch_bytes = kernels.backward_scratch(job);
  const int64_t columns = job.v_end - job.v_begin;
  run_tasks(pieces(columns, kernels.key_tile), scratch_bytes,
            [&](int64_t task, void* scratch) { kernels.backward_gradient(job, task, scratch); });
  const int64_t weight_pieces = job.grad_weight != nullptr ? pieces(columns, kPieceRows) : 0;
  const int64_t hidden_pieces = job.grad_hidden != nullptr ? pieces(job.forward.rows, kPieceRows) : 0;
  run_tasks(
      element_panels * (weight_pieces + hidden_pieces), scratch_bytes, [&](int64_t task, void* scratch) {
        const int64_t panel = task % element_panels, piece = task / element_panels;
        if (piece < weight_pieces) {
          const int64_t begin = piece * kPieceRows;
          return kernels.backward_weight(job, panel, begin, std::min(begin + kPieceRows, columns), scratch);
        }
        const int64_t begin = (piece - weight_pieces) * kPieceRows;
        kernels.backward_hidden(job, panel, begin, std::min(begin + kPieceRows, job.forward.rows), scratch);
      });
}

at::Tensor rows_contiguous(const at::Tensor& x) { return x.stride(1) == 1 ? x : x.contiguous(); }

}  // namespace

LogprobInputGradients logprob_backward(const LogprobBackwardInputs& inputs, bool to_hidden, bool to_weight) {
  const HotKernels& kernels = hot();
  const at::Tensor hidden = rows_contiguous(inputs.hidden), weight = rows_contiguous(inputs.weight);
  const at::Tensor targets = inputs.targets.contiguous();
  const int64_t num_rows = hidden.size(0), size = hidden.size(1), vocab = weight.size(0);
  LogprobInputGradients out;
  if (to_weight) out.weight = at::empty(weight.sizes(), weight.options());  // written block by block
  at::Tensor grad_hidden = to_hidden ? at::zeros({num_rows, size}, at::kFloat) : at::Tensor();
  if (num_rows == 0) {
    if (to_weight) out.weight.zero_();
    if (to_hidden) out.hidden = grad_hidden.to(hidden.scalar_type());
    return out;
  }
  LogprobBackwardJob job{};
  job.forward.weight = weight.const_data_ptr();
  job.forward.type = type_of(hidden);
  job.forward.hidden_stride = hidden.stride(0);
  job.forward.weight_stride = weight.stride(0);
  job.forward.size = size;
  job.forward.vocab = vocab;
  job.forward.scale_log2 = static_cast<float>(kLog2E / inputs.temperature);
  job.narrow = kernels.backward_is_narrow(job.forward.type, size);
  const int64_t chunk = rows_of_chunk(num_rows, size, kernels.panel_rows, inputs.chunk_bytes);
  const Buffers buffers = make_buffers(job, chunk, kernels.panel_rows);
  at::Tensor block = to_weight ? at::empty({kBlockColumns, size}, at::kFloat) : at::Tensor();
  for (job.v_begin = 0; job.v_begin < vocab; job.v_begin = job.v_end) {
    job.v_end = std::min(vocab, job.v_begin + kBlockColumns);
    if (to_weight) job.grad_weight = block.zero_().data_ptr<float>();
    for (int64_t n = 0; n < num_rows; n += chunk) {
      job.forward.rows = std::min(chunk, num_rows - n);
      job.forward.hidden = hidden.slice(0, n).const_data_ptr();
      job.forward.targets = targets.const_data_ptr<int64_t>() + n;
      job.lse = inputs.lse.const_data_ptr<float>() + n;
      job.entropy = inputs.entropy.const_data_ptr<float>() + n;
      job.grad_logprob = inputs.grad_logprob.const_data_ptr<float>() + n;
      job.grad_entropy = inputs.grad_entropy.const_data_ptr<float>() + n;
      if (to_hidden) job.grad_hidden = grad_hidden.data_ptr<float>() + n * size;
      // The hidden states of a single chunk stay packed from block to block.
      run_block(kernels, job, job.v_begin == 0 || chunk < num_rows);
    }
    if (to_weight) {
      const int64_t columns = job.v_end - job.v_begin;
      out.weight.slice(0, job.v_begin, job.v_end).copy_(block.slice(0, 0, columns).div_(inputs.temperature));
    }
  }
  if (to_hidden) out.hidden = grad_hidden.div_(inputs.temperature).to(hidden.scalar_type());
  return out;
}

}  // namespace pan::kernels::cpu
