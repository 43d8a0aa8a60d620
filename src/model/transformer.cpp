#include "model/transformer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core/error.h"
#include "model/attention.h"
#include "model/mlp.h"
#include "model/norm.h"
#include "model/recompute.h"
#include "model/small_linear.h"

namespace pan::model {
namespace {

void check_slots(int64_t num_sequences, const std::vector<int64_t>& slots, const KvCache& cache) {
  PAN_CHECK(num_sequences == static_cast<int64_t>(slots.size()) && num_sequences > 0, kInternal,
            "the decoder needs one cache slot for each sequence")
      .expected(std::to_string(num_sequences))
      .got(std::to_string(slots.size()));
  for (int64_t slot : slots)
    PAN_CHECK(slot >= 0 && slot < cache.num_slots(), kInternal, "a cache slot does not exist")
        .got(std::to_string(slot));
}
void check_length(int64_t length, const KvCache& cache) {
  PAN_CHECK(length <= cache.max_length(), kInternal, "a sequence is longer than its cache slot")
      .expected("at most " + std::to_string(cache.max_length()) + " tokens")
      .got(std::to_string(length));
}

at::Tensor library_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight, bias);
}

// The four projections of a block, with the weights they belong to.
template <class Visit>
void visit_adapters(LayerAdapters& adapters, LayerWeights& weights, const Visit& visit) {
  visit(adapters.qkv, weights.qkv);
  visit(adapters.output, weights.output);
  visit(adapters.gate_up, weights.gate_up);
  visit(adapters.down, weights.down);
}

std::string layer_prefix(size_t layer) { return "layers." + std::to_string(layer) + "."; }

}  // namespace

Transformer::Transformer(Arch arch, DecoderOptions options, std::string source_config)
    : arch_(std::move(arch)),
      options_(options),
      source_config_(std::move(source_config)),
      scale_(1.0 / std::sqrt(static_cast<double>(arch_.head_dim))) {
  PAN_CHECK(options.dtype == at::kFloat || options.dtype == at::kBFloat16 || options.dtype == at::kDouble,
            kInternal, "a decoder computes in float32 or bfloat16 (float64 in tests)")
      .got(c10::toString(options.dtype));
  weights_ = allocate_weights(arch_, options_);
  parameters_ = internal_parameters(weights_);
  frequencies_ = rope_frequencies(arch_, options_.device);
}

Transformer::Transformer(const Transformer& base, LoraConfig lora, std::vector<LayerAdapters> adapters)
    : Transformer(base) {
  lora_ = std::move(lora);
  adapters_ = std::move(adapters);
  parameters_.clear();
  for (size_t i = 0; i < adapters_.size(); ++i)
    visit_adapters(adapters_[i], weights_.layers[i], [&](const Adapter& adapter, const at::Tensor&) {
      for (const AdapterPart& part : adapter.parts) {
        if (!part.a.defined()) continue;
        parameters_.emplace_back(layer_prefix(i) + part.module + ".lora_a", part.a);
        parameters_.emplace_back(layer_prefix(i) + part.module + ".lora_b", part.b);
      }
    });
}

NamedTensors Transformer::export_tensors(const NamedTensors& masters,
                                         std::optional<at::ScalarType> merged_type) const {
  c10::NoGradGuard no_grad;
  if (lora_.enabled()) return merged_tensors(masters, merged_type);
  return hugging_face_tensors(arch_, masters.empty() ? weights_ : weights_of(arch_, parameters_, masters));
}

NamedTensors Transformer::merged_tensors(const NamedTensors& masters,
                                         std::optional<at::ScalarType> type) const {
  Weights merged = weights_;
  std::vector<LayerAdapters> adapters = adapters_;
  for (size_t i = 0; i < adapters.size(); ++i)
    visit_adapters(adapters[i], merged.layers[i], [&](const Adapter& adapter, at::Tensor& weight) {
      if (adapter.parts.empty()) return;
      weight = adapter.merged(weight, masters, layer_prefix(i));
      if (type) weight = weight.to(*type);
    });
  return hugging_face_tensors(arch_, merged);
}

// What of a block may take gradients.
std::vector<at::Tensor> Transformer::tensors_of_block(int64_t layer) const {
  const std::string prefix = layer_prefix(static_cast<size_t>(layer));
  std::vector<at::Tensor> out;
  for (const auto& [name, tensor] : parameters_)
    if (name.rfind(prefix, 0) == 0) out.push_back(tensor);
  return out;
}

// One block; `attend(layer, q, k, v)` with q [N, H, D], k and v [N, Hkv, D] returns [N, H D];
// `linear(x, weight, bias)`.
template <class Attend, class Linear>
at::Tensor Transformer::block(int64_t layer, const at::Tensor& input, const RopeTable& table,
                              const Attend& attend, const Linear& linear) const {
  const int64_t d = arch_.head_dim, q_rows = arch_.num_heads * d, kv_rows = arch_.num_kv_heads * d;
  const double eps = arch_.rms_norm_eps;
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const auto project = [&](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           Adapter LayerAdapters::*which) {
    const at::Tensor y = linear(x, weight, bias);
    if (adapters_.empty()) return y;
    const Adapter& adapter = adapters_[static_cast<size_t>(layer)].*which;
    return adapter.parts.empty() ? y : adapter.add_to(y, x, linear);
  };
  const at::Tensor qkv = project(rms_norm(input, w.input_norm, eps), w.qkv, w.qkv_bias, &LayerAdapters::qkv);
  const auto parts = qkv.split_with_sizes({q_rows, kv_rows, kv_rows}, 1);
  at::Tensor q = parts[0].unflatten(1, {arch_.num_heads, d}),
             k = parts[1].unflatten(1, {arch_.num_kv_heads, d});
  const at::Tensor v = parts[2].unflatten(1, {arch_.num_kv_heads, d});
  if (arch_.qk_norm) {
    q = rms_norm(q, w.q_norm, eps);
    k = rms_norm(k, w.k_norm, eps);
  }
  const at::Tensor context = attend(layer, rope_rotate(q, table), rope_rotate(k, table), v);
  const at::Tensor x = input + project(context, w.output, w.output_bias, &LayerAdapters::output);
  const at::Tensor gated =
      silu_mul(project(rms_norm(x, w.post_norm, eps), w.gate_up, w.gate_up_bias, &LayerAdapters::gate_up));
  return x + project(gated, w.down, w.down_bias, &LayerAdapters::down);
}

template <class Attend, class Linear>
at::Tensor Transformer::forward(const at::Tensor& tokens, const RopeTable& table, const Attend& attend,
                                const Linear& linear) const {
  at::Tensor x = at::embedding(weights_.embedding, tokens);  // [N, C]
  for (int64_t i = 0; i < arch_.num_layers; ++i) x = block(i, x, table, attend, linear);
  return rms_norm(x, weights_.norm, arch_.rms_norm_eps);
}

// The same with each block computed again in the backward pass. Blocks outlive the call, so they own what
// they use.
at::Tensor Transformer::recomputed_hidden(const Batch& batch, const RopeTable& table) const {
  at::Tensor x = at::embedding(weights_.embedding, batch.tokens);  // [N, C]
  for (int64_t i = 0; i < arch_.num_layers; ++i) {
    const auto part = [this, i, table, bounds = batch.cu_seqlens](const at::Tensor& input) {
      const auto attend = [&](int64_t, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
        return packed_attention(q, k, v, bounds, scale_);
      };
      return block(i, input, table, attend, library_linear);
    };
    x = recomputed(part, x, tensors_of_block(i));
  }
  return rms_norm(x, weights_.norm, arch_.rms_norm_eps);
}

at::Tensor Transformer::hidden(const Batch& batch, const AttentionTap* tap) const {
  PAN_CHECK(batch.num_sequences() > 0, kInternal, "the decoder was given no sequence");
  const RopeTable table = rope_table(frequencies_, batch.positions, options_.dtype);
  // Taps are for passes without gradients; with one there is nothing to recompute twice.
  if (options_.gradient_checkpointing && c10::GradMode::is_enabled() && tap == nullptr)
    return recomputed_hidden(batch, table);
  size_t next_tapped = 0;
  const auto attend = [&](int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    if (tap != nullptr && next_tapped < tap->layers.size() && tap->layers[next_tapped] == layer) {
      ++next_tapped;
      tap->on_layer({layer, q.detach(), k.detach(), scale_, 0});
    }
    return packed_attention(q, k, v, batch.cu_seqlens, scale_);
  };
  return forward(batch.tokens, table, attend, library_linear);
}

at::Tensor Transformer::prefill(const Batch& batch, KvCache& cache, const std::vector<int64_t>& slots) const {
  c10::NoGradGuard no_grad;
  check_slots(batch.num_sequences(), slots, cache);
  const std::vector<int64_t>& bounds = batch.cu_seqlens;
  for (size_t i = 0; i < slots.size(); ++i) check_length(bounds[i + 1] - bounds[i], cache);
  const RopeTable table = rope_table(frequencies_, batch.positions, options_.dtype);
  const auto attend = [&](int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    for (size_t i = 0; i < slots.size(); ++i) {
      const int64_t length = bounds[i + 1] - bounds[i];
      const auto store = [&](at::Tensor& to, const at::Tensor& from) {
        to.select(0, slots[i]).narrow(1, 0, length).copy_(from.narrow(0, bounds[i], length).transpose(0, 1));
      };
      store(cache.keys(layer), k);
      store(cache.values(layer), v);
    }
    return packed_attention(q, k, v, bounds, scale_);
  };
  const at::Tensor out = forward(batch.tokens, table, attend, library_linear);
  std::vector<int64_t> last;
  for (size_t i = 0; i < slots.size(); ++i) {
    cache.set_length(slots[i], bounds[i + 1] - bounds[i]);
    last.push_back(bounds[i + 1] - 1);
  }
  return out.index_select(0, at::tensor(last, at::kLong).to(options_.device));
}

at::Tensor Transformer::decode(const at::Tensor& tokens, KvCache& cache,
                               const std::vector<int64_t>& slots) const {
  c10::NoGradGuard no_grad;
  check_slots(tokens.size(0), slots, cache);
  std::vector<int64_t> positions, lengths;
  for (int64_t slot : slots) {
    check_length(cache.length(slot) + 1, cache);
    positions.push_back(cache.length(slot));
    lengths.push_back(cache.length(slot) + 1);
  }
  const at::Tensor position = at::tensor(positions, at::kLong).to(options_.device);
  const at::Tensor rows = cache.rows(slots, positions);
  const RopeTable table = rope_table(frequencies_, position, options_.dtype);
  const auto attend = [&](int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    const int64_t size = k.size(2);
    cache.keys(layer).view({-1, size}).index_copy_(0, rows, k.reshape({-1, size}));
    cache.values(layer).view({-1, size}).index_copy_(0, rows, v.reshape({-1, size}));
    return cached_attention(q, cache.keys(layer), cache.values(layer), slots, lengths, scale_);
  };
  const auto linear = [](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    return small_linear(x, weight, bias);
  };
  const at::Tensor out = forward(tokens, table, attend, linear);
  for (size_t i = 0; i < slots.size(); ++i) cache.set_length(slots[i], lengths[i]);
  return out;
}

}  // namespace pan::model
