// A decoder-only transformer: forward over packed sequences (scoring, training) and step by step over a cache
// (sampling).
//
//   auto decoder = model::load_decoder("folder", {.dtype = at::kFloat, .device = at::kCPU});
//   at::Tensor h = decoder->hidden(model::pack({ids}, at::kCPU));   // [N, C], after the final norm
//   at::Tensor logits = at::linear(h, decoder->output_weight());    // [N, V]
//
// Parameters take part in autograd where requires_grad is set on them; hidden() is differentiable. They are
// updated in place by the optimizer and never reallocated.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/arch.h"
#include "model/attention_tap.h"
#include "model/batch.h"
#include "model/kv_cache.h"

namespace pan::model {

struct DecoderOptions {
  at::ScalarType dtype = at::kFloat;  // compute type: float32 or bfloat16 (float64 in tests)
  at::Device device = at::kCPU;
  // hidden() keeps the input of each block alone and computes the block again for its gradient.
  bool gradient_checkpointing = false;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual const Arch& arch() const = 0;
  virtual const DecoderOptions& options() const = 0;
  // Text of the config.json it was loaded from; empty for make_decoder.
  virtual const std::string& source_config() const = 0;

  // [N, C] after the final norm. The tap (may be null) sees q and k of its layers. Differentiable.
  virtual at::Tensor hidden(const Batch& batch, const AttentionTap* tap = nullptr) const = 0;

  // [V, C]; the embedding itself where embeddings are tied.
  virtual at::Tensor output_weight() const = 0;

  // Trainable tensors by stable internal names (fused where the forward fuses them), each once; with adapters
  // (lora.h) those alone.
  virtual NamedTensors parameters() const = 0;
  // All weights under Hugging Face names ("model.layers.0.self_attn.q_proj.weight", ...), views where
  // possible. Values of trainable tensors come from `masters` where given by internal name. Adapters are
  // merged in float32, and then rounded to `merged_type` where one is given.
  virtual NamedTensors export_tensors(const NamedTensors& masters = {},
                                      std::optional<at::ScalarType> merged_type = std::nullopt) const = 0;

  // Writes the sequences of `batch` into the cache's `slots` (one per sequence, from position 0) and returns
  // the hidden state of each sequence's last token [B, C]. Not differentiable.
  virtual at::Tensor prefill(const Batch& batch, KvCache& cache, const std::vector<int64_t>& slots) const = 0;
  // One token for each of `slots` at position cache.length(slot): tokens [B] -> hidden [B, C]; lengths grow
  // by one.
  virtual at::Tensor decode(const at::Tensor& tokens, KvCache& cache,
                            const std::vector<int64_t>& slots) const = 0;
};

// Reads config.json and safetensors (one file or shards). Peak memory at most 1.2 times the weights in
// compute type. Errors: kData: missing or unexpected tensors (listed), wrong shapes, NaN or infinite weights
// (named), truncated files.
std::unique_ptr<Decoder> load_decoder(const std::string& folder, const DecoderOptions& options);

// Fresh parameters: normal(0, 0.02) matrices, ones for norms, zeros for biases; pure function of the seed.
std::unique_ptr<Decoder> make_decoder(const Arch& arch, const DecoderOptions& options, uint64_t seed);

// Logits for sampling: hidden [B, C] -> [B, V] float32, at temperature 1. Not meant for training (see
// logprob_entropy).
at::Tensor output_logits(const Decoder& decoder, const at::Tensor& hidden);

// An independent copy of a decoder without adapters.
std::unique_ptr<Decoder> clone_decoder(const Decoder& decoder);

// Writes config.json and model.safetensors in `dtype` into an existing folder, as transformers reads them.
// Values come from `masters` where given by internal parameter name, else from the decoder; adapters are
// merged.
void save_decoder(const std::string& folder, const Decoder& decoder, at::ScalarType dtype,
                  const NamedTensors& masters = {});

}  // namespace pan::model
