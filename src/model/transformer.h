// The one implementation of Decoder, for code of this module that needs its weights. Others use decoder.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "model/decoder.h"
#include "model/lora.h"
#include "model/rope.h"
#include "model/weights.h"

namespace pan::model {

class Transformer final : public Decoder {
 public:
  // Parameters are uninitialised. Error: kInternal for a compute type other than float32, bfloat16 and
  // float64.
  Transformer(Arch arch, DecoderOptions options, std::string source_config);

  // On the weights of `base`, with adapters; one LayerAdapters a layer.
  Transformer(const Transformer& base, LoraConfig lora, std::vector<LayerAdapters> adapters);

  const Arch& arch() const override { return arch_; }
  const DecoderOptions& options() const override { return options_; }
  const std::string& source_config() const override { return source_config_; }
  const Weights& weights() const { return weights_; }

  at::Tensor output_weight() const override {
    return weights_.head.defined() ? weights_.head : weights_.embedding;
  }
  NamedTensors parameters() const override { return parameters_; }
  const LoraConfig& lora() const { return lora_; }  // rank 0: no adapters
  NamedTensors export_tensors(const NamedTensors& masters,
                              std::optional<at::ScalarType> merged_type) const override;

  at::Tensor hidden(const Batch& batch, const AttentionTap* tap) const override;
  at::Tensor prefill(const Batch& batch, KvCache& cache, const std::vector<int64_t>& slots) const override;
  at::Tensor decode(const at::Tensor& tokens, KvCache& cache,
                    const std::vector<int64_t>& slots) const override;

 private:
  template <class Attend, class Linear>
  at::Tensor block(int64_t layer, const at::Tensor& x, const RopeTable& table, const Attend& attend,
                   const Linear& linear) const;
  template <class Attend, class Linear>
  at::Tensor forward(const at::Tensor& tokens, const RopeTable& table, const Attend& attend,
                     const Linear& linear) const;
  NamedTensors merged_tensors(const NamedTensors& masters, std::optional<at::ScalarType> type) const;
  std::vector<at::Tensor> tensors_of_block(int64_t layer) const;
  at::Tensor recomputed_hidden(const Batch& batch, const RopeTable& table) const;

  Arch arch_;
  DecoderOptions options_;
  std::string source_config_;
  Weights weights_;
  LoraConfig lora_;
  std::vector<LayerAdapters> adapters_;  // empty without
  NamedTensors parameters_;
  at::Tensor frequencies_;
  double scale_;
};

}  // namespace pan::model
