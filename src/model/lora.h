// Low-rank adapters: small trainable matrices beside frozen projections.
//
//   auto policy = model::with_adapters(*base, {.rank = 16}, seed);   // shares the base's weights
//   rl::Optimizer optimizer(policy->parameters(), ...);              // adapters only; *base is the reference
//   model::save_adapter(folder, *policy, "HuggingFaceTB/SmolLM2-135M-Instruct");
//   model::save_decoder(folder, *policy, at::kBFloat16);             // merged
//
// Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, without dropout:
// y = W x + (alpha / rank) B (A x). A starts uniform in +-1/sqrt(inputs) (as in PEFT), B at zero, so fresh
// adapters change nothing. They are never merged while training: sampling, scoring and update add the same
// two products.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "model/lora_config.h"

namespace pan::model {

// A projection as Hugging Face names it; a range of rows of a fused weight.
struct AdapterPart {
  std::string module;  // "self_attn.q_proj"
  int64_t begin = 0, rows = 0;
  at::Tensor a, b;  // [rank, inputs], [rows, rank]; undefined: no adapter
};

// Of one fused weight; the parts cover its rows in order. No parts: nothing of it is adapted.
struct Adapter {
  std::vector<AdapterPart> parts;
  double scale = 0;

  // y + scale B (A x) part by part: x [N, inputs], y [N, rows of all parts]; linear(x, weight, bias).
  at::Tensor add_to(
      const at::Tensor& y, const at::Tensor& x,
      const std::function<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&)>& linear) const;
  // weight + scale B A in float32 (or the wider type of the weight), B and A from `masters` where given under
  // prefix + module + ".lora_a" and ".lora_b".
  at::Tensor merged(const at::Tensor& weight, const NamedTensors& masters, const std::string& prefix) const;
};

struct LayerAdapters {
  Adapter qkv, output, gate_up, down;
};

// One LayerAdapters a layer. Errors: kConfig with the pointer /model/lora/targets for an unknown name.
std::vector<LayerAdapters> make_adapters(const Arch& arch, const DecoderOptions& options,
                                         const LoraConfig& config, uint64_t seed);

// Of all adapters together.
int64_t num_adapter_parameters(const Arch& arch, const LoraConfig& config);

// A decoder on the very weights of `base` (shared memory, not trained) with adapters: fresh ones, or those of
// config.path. parameters() are the adapters alone ("layers.0.self_attn.q_proj.lora_a", float type of the
// base); export_tensors() merges. `base` must have none itself. Errors: those of make_adapters and
// load_adapter.
std::unique_ptr<Decoder> with_adapters(const Decoder& base, const LoraConfig& config, uint64_t seed);

// A folder that PEFT loads: adapter_config.json, adapter_model.safetensors (float32). Values come from
// `masters` where given. `extra` tensors are written as further trained modules of a classifier (a critic's
// head: "score.weight", "score.bias").
void save_adapter(const std::string& folder, const Decoder& decoder, const std::string& base_model,
                  const NamedTensors& masters = {}, const NamedTensors& extra = {});

// Fills the adapters of `decoder`, rounding to its type. Errors: kData with the file: another rank, alpha or
// targets, variants of LoRA that are not known (rsLoRA, DoRA, biases, ranks by layer), missing or unexpected
// tensors (listed), wrong shapes, values that are not finite.
void load_adapter(const std::string& folder, const Decoder& decoder);

}  // namespace pan::model
