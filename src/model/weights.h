// The parameters of a decoder: fused where the forward fuses them, with a map to Hugging Face names and back.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "model/arch.h"
#include "model/decoder.h"

namespace pan::model {

// Undefined tensors: what the architecture does not have.
struct LayerWeights {
  at::Tensor input_norm;             // [C]
  at::Tensor qkv, qkv_bias;          // [(H + 2 Hkv) D, C], queries, keys, values
  at::Tensor q_norm, k_norm;         // [D]
  at::Tensor output, output_bias;    // [C, H D]
  at::Tensor post_norm;              // [C]
  at::Tensor gate_up, gate_up_bias;  // [2 I, C], gate first
  at::Tensor down, down_bias;        // [C, I]
};

struct Weights {
  at::Tensor embedding;  // [V, C]
  std::vector<LayerWeights> layers;
  at::Tensor norm;  // [C]
  at::Tensor head;  // [V, C]; undefined where tied
};

// Uninitialised memory of the right shapes.
Weights allocate_weights(const Arch& arch, const DecoderOptions& options);

// Each parameter once, by internal name, in the order of the forward.
NamedTensors internal_parameters(const Weights& weights);

// The tensor of that name in `values`, or `fallback` where there is none.
at::Tensor value_of(const NamedTensors& values, const std::string& name, const at::Tensor& fallback);

// The inverse of internal_parameters: `parameters` by name, those of `replacements` taken instead where
// given. Errors: kInternal for a replacement of an unknown name or another shape.
Weights weights_of(const Arch& arch, const NamedTensors& parameters, const NamedTensors& replacements);

// The same memory under Hugging Face names; parts of fused tensors are views.
NamedTensors hugging_face_tensors(const Arch& arch, const Weights& weights);

// How the names in a folder may differ from the decoder's own.
struct LoadNames {
  bool ignore_head = false;  // lm_head.weight may be there and is not needed (a critic's trunk)
  NamedTensors extra;        // further tensors to fill if the folder has them
};

// Fills `weights` from the folder's model.safetensors or shards. Returns for each tensor of names.extra
// whether it was found. Errors: kData, all missing and unexpected names in one message; wrong shapes; values
// that are not finite.
std::vector<bool> load_weights(const std::string& folder, const Arch& arch, const Weights& weights,
                               const LoadNames& names = {});

}  // namespace pan::model
