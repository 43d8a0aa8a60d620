#include "model/attention.h"

#include <ATen/ATen.h>

#include "kernels/decode_attention.h"

namespace pan::model {
namespace {

// [T, heads, D] -> [Hkv, G, T, D]: the key head takes the batch dimension, so that keys and values can be
// shared by the G query heads of their group through a stride of 0, without copies.
at::Tensor by_key_head(const at::Tensor& x, int64_t num_kv_heads, int64_t group) {
  if (x.size(1) == num_kv_heads && group != 1)
    return x.permute({1, 0, 2}).unsqueeze(1).expand({num_kv_heads, group, x.size(0), x.size(2)});
  return x.unflatten(1, {num_kv_heads, group}).permute({1, 2, 0, 3});
}

at::Tensor one_sequence(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const int64_t num_kv_heads = k.size(1), group = q.size(1) / num_kv_heads;
  const at::Tensor out = at::scaled_dot_product_attention(
      by_key_head(q, num_kv_heads, group), by_key_head(k, num_kv_heads, group),
      by_key_head(v, num_kv_heads, group), std::nullopt, 0.0, /*is_causal=*/true, scale);  // [Hkv, G, T, D]
  return out.permute({2, 0, 1, 3}).reshape({q.size(0), q.size(1) * q.size(2)});            // [T, H D]
}

// Row by row through ATen: for what the kernel does not know, float64 and, on a GPU, very large heads.
at::Tensor cached_attention_plain(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                                  const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                                  double scale) {
  const int64_t num_kv_heads = keys.size(1), group = q.size(1) / num_kv_heads;
  std::vector<at::Tensor> rows;
  for (size_t i = 0; i < slots.size(); ++i) {
    const auto expand = [&](const at::Tensor& cache) {
      return cache.select(0, slots[i])
          .narrow(1, 0, lengths[i])
          .unsqueeze(1)
          .expand({num_kv_heads, group, lengths[i], cache.size(3)});
    };
    const at::Tensor query =
        q.select(0, static_cast<int64_t>(i)).unflatten(0, {num_kv_heads, group}).unsqueeze(2);
    rows.push_back(
        at::scaled_dot_product_attention(query, expand(keys), expand(values), std::nullopt, 0.0, false, scale)
            .flatten());
  }
  return at::stack(rows);
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int64_t>& cu_seqlens, double scale) {
  if (cu_seqlens.size() == 2) return one_sequence(q, k, v, scale);
  std::vector<int64_t> lengths;
  for (size_t i = 1; i < cu_seqlens.size(); ++i) lengths.push_back(cu_seqlens[i] - cu_seqlens[i - 1]);
  // One split and one cat: their gradients touch every element once, those of a narrow per sequence would
  // not.
  const auto qs = q.split_with_sizes(lengths), ks = k.split_with_sizes(lengths),
             vs = v.split_with_sizes(lengths);
  std::vector<at::Tensor> outs;
  for (size_t i = 0; i < lengths.size(); ++i) outs.push_back(one_sequence(qs[i], ks[i], vs[i], scale));
  return at::cat(outs);
}

at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                            const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                            double scale) {
  constexpr int64_t kMaxHeadSizeOnGpu = 256;
  if (q.scalar_type() == at::kDouble || (!q.is_cpu() && q.size(2) > kMaxHeadSizeOnGpu))
    return cached_attention_plain(q, keys, values, slots, lengths, scale);
  at::Tensor out = at::empty(q.sizes(), q.options());
  kernels::decode_attention(q, keys, values, slots, lengths, scale, out);
  return out.flatten(1);
}

}  // namespace pan::model
