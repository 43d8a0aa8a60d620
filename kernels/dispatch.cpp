// The checked entries of all kernels, and the choice of implementation by device.
#include "kernels/dispatch.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cmath>

#include "kernels/decode_attention.h"

namespace pan::kernels {
namespace {

// Whether the GPU's implementation is to run.
bool on_cuda(const at::Tensor& tensor, const char* kernel) {
  TORCH_CHECK_VALUE(tensor.is_cpu() || tensor.is_cuda(), kernel, ": tensors on ", tensor.device(),
                    ", expected cpu or cuda");
  return tensor.is_cuda();
}

bool is_kernel_type(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16 || type == at::kHalf;
}

void check_type(const at::Tensor& tensor, const char* kernel, const char* name) {
  TORCH_CHECK_VALUE(tensor.defined() && is_kernel_type(tensor.scalar_type()), kernel, ": ", name,
                    " must be float32, bfloat16 or float16, got ",
                    tensor.defined() ? c10::toString(tensor.scalar_type()) : "an undefined tensor");
}

void check_same(const at::Tensor& a, const at::Tensor& b, const char* kernel, const char* names) {
  TORCH_CHECK_VALUE(b.defined() && a.scalar_type() == b.scalar_type() && a.device() == b.device(), kernel,
                    ": ", names, " must have one type and one device");
}

void check_q_k(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
               const char* kernel) {
  check_type(q, kernel, "q");
  check_same(q, k, kernel, "q and k");
  TORCH_CHECK_VALUE(q.dim() == 3 && k.dim() == 3, kernel, ": q must be [N, H, D] and k [N, Hkv, D], got ",
                    q.sizes(), " and ", k.sizes());
  TORCH_CHECK_VALUE(q.size(0) == k.size(0) && q.size(2) == k.size(2) && q.size(2) > 0, kernel,
                    ": q and k differ in tokens or head size: ", q.sizes(), " and ", k.sizes());
  TORCH_CHECK_VALUE(k.size(1) > 0 && q.size(1) > 0 && q.size(1) % k.size(1) == 0, kernel, ": ", q.size(1),
                    " query heads are no multiple of ", k.size(1), " key heads");
  TORCH_CHECK_VALUE(q.size(0) == 0 || (q.stride(2) == 1 && k.stride(2) == 1), kernel,
                    ": the last dimension of q and k must be contiguous");
  TORCH_CHECK_VALUE(!cu_seqlens.empty() && cu_seqlens.front() == 0 && cu_seqlens.back() == q.size(0), kernel,
                    ": cu_seqlens must start with 0 and end with N = ", q.size(0));
  for (size_t b = 1; b < cu_seqlens.size(); ++b) {
    TORCH_CHECK_VALUE(cu_seqlens[b] >= cu_seqlens[b - 1], kernel, ": cu_seqlens falls at ", b, ": ",
                      cu_seqlens[b - 1], " to ", cu_seqlens[b]);
  }
}

void check_rows(const at::Tensor& lse, const at::Tensor& q, const char* kernel, const char* name) {
  TORCH_CHECK_VALUE(lse.defined() && lse.scalar_type() == at::kFloat && lse.device() == q.device() &&
                        lse.dim() == 2 && lse.size(0) == q.size(1) && lse.size(1) == q.size(0),
                    kernel, ": ", name, " must be [H, N] = [", q.size(1), ", ", q.size(0),
                    "] float32 on the device of q");
}

void check_heads(const std::vector<int64_t>& heads, const at::Tensor& q, const char* kernel) {
  for (int64_t head : heads) {
    TORCH_CHECK_VALUE(head >= 0 && head < q.size(1), kernel, ": head ", head, " of ", q.size(1));
  }
}

double checked_scale(double scale, int64_t head_size, const char* kernel) {
  TORCH_CHECK_VALUE(std::isfinite(scale) && scale >= 0, kernel, ": scale must be finite and >= 0, got ",
                    scale);
  return scale == 0 ? 1.0 / std::sqrt(static_cast<double>(head_size)) : scale;
}

void check_band(int64_t lo, int64_t hi, const char* kernel) {
  TORCH_CHECK_VALUE(lo >= 0 && hi >= lo, kernel, ": expected 0 <= lo <= hi, got ", lo, " and ", hi);
}

void check_window(int64_t window, const char* kernel) {
  TORCH_CHECK_VALUE(window >= 0, kernel, ": sliding_window must be >= 0, got ", window);
}

// Every target in [0, vocab). One small copy to the host where they are on a GPU.
void check_targets(const at::Tensor& targets, int64_t vocab, const char* kernel) {
  const at::Tensor wanted = targets.cpu().contiguous();
  for (int64_t n = 0; n < wanted.size(0); ++n) {
    const int64_t target = wanted.const_data_ptr<int64_t>()[n];
    TORCH_CHECK_VALUE(target >= 0 && target < vocab, kernel, ": targets[", n, "] = ", target, " of ", vocab,
                      " tokens");
  }
}

// first_row with one entry per sequence.
std::vector<int64_t> checked_first_row(const std::vector<int64_t>& first_row,
                                       const std::vector<int64_t>& cu_seqlens, const char* kernel) {
  const size_t num_sequences = cu_seqlens.size() - 1;
  if (first_row.empty()) return std::vector<int64_t>(num_sequences, 0);
  TORCH_CHECK_VALUE(first_row.size() == num_sequences, kernel, ": first_row has ", first_row.size(),
                    " entries for ", num_sequences, " sequences");
  for (size_t b = 0; b < num_sequences; ++b) {
    TORCH_CHECK_VALUE(first_row[b] >= 0 && first_row[b] <= cu_seqlens[b + 1] - cu_seqlens[b], kernel,
                      ": first_row[", b, "] = ", first_row[b], " is outside its sequence");
  }
  return first_row;
}

}  // namespace

RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options) {
  const char* kernel = "row_stats";
  check_q_k(q, k, cu_seqlens, kernel);
  check_window(options.sliding_window, kernel);
  TORCH_CHECK_VALUE(options.num_sink >= 0, kernel, ": num_sink must be >= 0, got ", options.num_sink);
  TORCH_CHECK_VALUE(options.waad_window >= 1, kernel, ": waad_window must be >= 1, got ",
                    options.waad_window);
  check_heads(options.heads, q, kernel);
  RowStatsOptions resolved = options;
  resolved.scale = checked_scale(options.scale, q.size(2), kernel);
  resolved.first_row = checked_first_row(options.first_row, cu_seqlens, kernel);
  return on_cuda(q, kernel) ? cuda::row_stats(q, k, cu_seqlens, resolved)
                            : cpu::row_stats(q, k, cu_seqlens, resolved);
}

RowStats row_stats_padded(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& lengths,
                          const RowStatsOptions& options) {
  const char* kernel = "row_stats_padded";
  TORCH_CHECK_VALUE(q.dim() == 4 && k.dim() == 4 && q.size(0) == k.size(0) && q.size(2) == k.size(2), kernel,
                    ": q must be [B, H, T, D] and k [B, Hkv, T, D], got ", q.sizes(), " and ", k.sizes());
  TORCH_CHECK_VALUE(static_cast<int64_t>(lengths.size()) == q.size(0), kernel, ": ", lengths.size(),
                    " lengths for ", q.size(0), " sequences");
  std::vector<at::Tensor> queries{q.new_empty({0, q.size(1), q.size(3)})};
  std::vector<at::Tensor> keys{k.new_empty({0, k.size(1), k.size(3)})};
  std::vector<int64_t> cu_seqlens{0};
  for (size_t b = 0; b < lengths.size(); ++b) {
    TORCH_CHECK_VALUE(lengths[b] >= 0 && lengths[b] <= q.size(2), kernel, ": lengths[", b, "] = ", lengths[b],
                      " of ", q.size(2), " positions");
    const int64_t i = static_cast<int64_t>(b);
    queries.push_back(q[i].narrow(1, 0, lengths[b]).transpose(0, 1));
    keys.push_back(k[i].narrow(1, 0, lengths[b]).transpose(0, 1));
    cu_seqlens.push_back(cu_seqlens.back() + lengths[b]);
  }
  RowStats out = row_stats(at::cat(queries), at::cat(keys), cu_seqlens, options);
  for (at::Tensor* rows : {&out.lse, &out.lse_ns, &out.entropy, &out.norm_entropy, &out.distance,
                           &out.distance_ns, &out.waad, &out.sink_mass}) {
    if (!rows->defined()) continue;
    const at::Tensor padded = at::zeros({q.size(0), rows->size(0), q.size(2)}, rows->options());
    for (size_t b = 0; b < lengths.size(); ++b) {
      padded[static_cast<int64_t>(b)]
          .narrow(1, 0, lengths[b])
          .copy_(rows->narrow(1, cu_seqlens[b], lengths[b]));
    }
    *rows = padded;
  }
  return out;
}

at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                          const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                          const at::Tensor& head_weights, int64_t sliding_window) {
  const char* kernel = "attention_band";
  check_q_k(q, k, cu_seqlens, kernel);
  check_rows(lse, q, kernel, "lse");
  check_band(lo, hi, kernel);
  check_window(sliding_window, kernel);
  TORCH_CHECK_VALUE(head_weights.defined() && head_weights.scalar_type() == at::kFloat &&
                        head_weights.dim() == 1 && head_weights.size(0) == q.size(1),
                    kernel, ": head_weights must be [H] = [", q.size(1), "] float32");
  const auto run = on_cuda(q, kernel) ? cuda::attention_band : cpu::attention_band;
  return run(q, k, lse, cu_seqlens, checked_scale(scale, q.size(2), kernel), lo, hi, head_weights,
             sliding_window);
}

at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                         const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                         const std::vector<int64_t>& first_row, int64_t sliding_window) {
  const char* kernel = "attention_fai";
  check_q_k(q, k, cu_seqlens, kernel);
  check_rows(lse, q, kernel, "lse");
  check_band(lo, hi, kernel);
  check_window(sliding_window, kernel);
  const std::vector<int64_t> rows = checked_first_row(first_row, cu_seqlens, kernel);
  const auto run = on_cuda(q, kernel) ? cuda::attention_fai : cpu::attention_fai;
  return run(q, k, lse, cu_seqlens, checked_scale(scale, q.size(2), kernel), lo, hi, rows, sliding_window);
}

at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse_ns,
                       const std::vector<int64_t>& cu_seqlens, double scale,
                       const std::vector<int64_t>& step_of, const std::vector<std::vector<int64_t>>& anchors,
                       const std::vector<int64_t>& heads, int64_t sliding_window) {
  const char* kernel = "anchor_mass";
  check_q_k(q, k, cu_seqlens, kernel);
  check_rows(lse_ns, q, kernel, "lse_ns");
  check_window(sliding_window, kernel);
  const int64_t num_tokens = q.size(0);
  TORCH_CHECK_VALUE(static_cast<int64_t>(step_of.size()) == num_tokens, kernel, ": step_of has ",
                    step_of.size(), " entries for ", num_tokens, " tokens");
  check_heads(heads, q, kernel);
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b) {
    for (int64_t n = cu_seqlens[b]; n < cu_seqlens[b + 1]; ++n) {
      const int64_t step = step_of[n];
      TORCH_CHECK_VALUE(step >= -1 && step < static_cast<int64_t>(anchors.size()), kernel, ": step_of[", n,
                        "] = ", step, " of ", anchors.size(), " steps");
      if (step < 0 || anchors[step].empty()) continue;
      // Increasing keys before the row: the last one decides.
      TORCH_CHECK_VALUE(anchors[step].front() >= 0 && anchors[step].back() < n - cu_seqlens[b], kernel,
                        ": an anchor of step ", step, " is not before row ", n - cu_seqlens[b],
                        " of its sequence");
    }
  }
  for (size_t step = 0; step < anchors.size(); ++step) {
    for (size_t i = 1; i < anchors[step].size(); ++i) {
      TORCH_CHECK_VALUE(anchors[step][i] > anchors[step][i - 1], kernel, ": anchors of step ", step,
                        " are not increasing");
    }
  }
  const auto run = on_cuda(q, kernel) ? cuda::anchor_mass : cpu::anchor_mass;
  return run(q, k, lse_ns, cu_seqlens, checked_scale(scale, q.size(2), kernel), step_of, anchors, heads,
             sliding_window);
}

LogprobEntropy logprob_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                               const LogprobOptions& options) {
  const char* kernel = "logprob_entropy";
  check_type(hidden, kernel, "hidden");
  check_same(hidden, weight, kernel, "hidden and weight");
  TORCH_CHECK_VALUE(
      hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1) && weight.size(0) > 0,
      kernel, ": hidden must be [N, C] and weight [V, C], got ", hidden.sizes(), " and ", weight.sizes());
  TORCH_CHECK_VALUE(targets.defined() && targets.scalar_type() == at::kLong && targets.dim() == 1 &&
                        targets.size(0) == hidden.size(0) && targets.device() == hidden.device(),
                    kernel, ": targets must be [N] = [", hidden.size(0), "] int64 on the device of hidden");
  TORCH_CHECK_VALUE(std::isfinite(options.temperature) && options.temperature > 0, kernel,
                    ": temperature must be > 0, got ", options.temperature);
  TORCH_CHECK_VALUE(options.chunk_bytes > 0, kernel, ": chunk_bytes must be > 0, got ", options.chunk_bytes);
  const bool on_gpu = on_cuda(hidden, kernel);
  if (!options.targets_in_range) check_targets(targets, weight.size(0), kernel);
  return on_gpu ? cuda::logprob_entropy(hidden, weight, targets, options)
                : cpu::logprob_entropy(hidden, weight, targets, options);
}

void decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                      const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths, double scale,
                      at::Tensor& out, int64_t sliding_window) {
  const char* kernel = "decode_attention";
  check_type(q, kernel, "q");
  check_same(q, k_cache, kernel, "q and k_cache");
  check_same(q, v_cache, kernel, "q and v_cache");
  check_same(q, out, kernel, "q and out");
  check_window(sliding_window, kernel);
  TORCH_CHECK_VALUE(q.dim() == 3 && out.sizes() == q.sizes(), kernel, ": q and out must be [B, H, D], got ",
                    q.sizes(), " and ", out.sizes());
  TORCH_CHECK_VALUE(k_cache.dim() == 4 && v_cache.sizes() == k_cache.sizes() &&
                        k_cache.size(3) == q.size(2) && k_cache.size(1) > 0 &&
                        q.size(1) % k_cache.size(1) == 0,
                    kernel, ": caches must be [slots, Hkv, Tmax, D] with H a multiple of Hkv, got ",
                    k_cache.sizes(), " and ", v_cache.sizes(), " for q ", q.sizes());
  TORCH_CHECK_VALUE(q.numel() == 0 || (q.stride(2) == 1 && out.stride(2) == 1 && k_cache.stride(3) == 1 &&
                                       v_cache.stride(3) == 1),
                    kernel, ": the last dimension of every tensor must be contiguous");
  TORCH_CHECK_VALUE(static_cast<int64_t>(slots.size()) == q.size(0) && lengths.size() == slots.size(), kernel,
                    ": ", slots.size(), " slots and ", lengths.size(), " lengths for ", q.size(0), " rows");
  for (size_t b = 0; b < slots.size(); ++b) {
    TORCH_CHECK_VALUE(slots[b] >= 0 && slots[b] < k_cache.size(0), kernel, ": slots[", b, "] = ", slots[b],
                      " of ", k_cache.size(0));
    TORCH_CHECK_VALUE(lengths[b] >= 1 && lengths[b] <= k_cache.size(2), kernel, ": lengths[", b,
                      "] = ", lengths[b], " outside 1..", k_cache.size(2));
  }
  const auto run = on_cuda(q, kernel) ? cuda::decode_attention : cpu::decode_attention;
  run(q, k_cache, v_cache, slots, lengths, checked_scale(scale, q.size(2), kernel), out, sliding_window);
}

}  // namespace pan::kernels
