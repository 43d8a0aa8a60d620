// The critic: a trunk and a scalar head. Either a separate model, or a head on the policy's trunk.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "model/decoder.h"

namespace pan::model {

// V(t) = <w, h_t> + b in float32. The head starts at zero (a random one starts training with a huge value
// loss).
struct ValueHead {
  at::Tensor weight;  // [1, C] float32
  at::Tensor bias;    // [1] float32

  static ValueHead zeros(int64_t hidden_size, at::Device device);
  at::Tensor operator()(const at::Tensor& hidden) const;  // [N, C] -> [N] float32, differentiable
  NamedTensors parameters() const;                        // "score.weight", "score.bias"
};

// A folder that transformers loads as AutoModelForTokenClassification with one label.
void save_critic(const std::string& folder, const Decoder& trunk, const ValueHead& head, at::ScalarType dtype,
                 const NamedTensors& masters = {});

// Reads a critic folder, or a causal language model's (head at zero then; `head_found` says which).
struct Critic {
  std::unique_ptr<Decoder> trunk;
  ValueHead head;
  bool head_found = false;
};
Critic load_critic(const std::string& folder, const DecoderOptions& options);

}  // namespace pan::model
