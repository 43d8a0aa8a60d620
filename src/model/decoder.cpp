#include "model/decoder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "core/error.h"
#include "core/file.h"
#include "core/rng.h"
#include "model/small_linear.h"
#include "model/transformer.h"
#include "model/weights.h"

namespace pan::model {
namespace {

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

std::unique_ptr<Decoder> load_decoder(const std::string& folder, const DecoderOptions& options) {
  auto decoder =
      std::make_unique<Transformer>(read_arch(folder), options, core::read_file(folder + "/config.json"));
  load_weights(folder, decoder->arch(), decoder->weights());
  return decoder;
}

std::unique_ptr<Decoder> make_decoder(const Arch& arch, const DecoderOptions& options, uint64_t seed) {
  c10::NoGradGuard no_grad;
  auto decoder = std::make_unique<Transformer>(arch, options, "");
  uint64_t index = 0;
  for (auto& [name, tensor] : hugging_face_tensors(arch, decoder->weights())) {
    const bool is_norm = ends_with(name, "norm.weight");
    if (ends_with(name, ".bias")) {
      tensor.zero_();
    } else if (is_norm) {
      tensor.fill_(1);
    } else {
      core::rng::Stream stream({seed, core::rng::Purpose::kInit, index, 0});
      at::Tensor values = at::empty(tensor.sizes(), at::kFloat);
      float* out = values.mutable_data_ptr<float>();
      for (int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(0.02 * stream.normal());
      tensor.copy_(values);
    }
    ++index;
  }
  return decoder;
}

std::unique_ptr<Decoder> clone_decoder(const Decoder& decoder) {
  c10::NoGradGuard no_grad;
  const auto* transformer = dynamic_cast<const Transformer*>(&decoder);
  PAN_CHECK(transformer != nullptr && !transformer->lora().enabled(), kInternal,
            "a decoder with adapters is not copied");
  auto copy = std::make_unique<Transformer>(decoder.arch(), decoder.options(), decoder.source_config());
  const NamedTensors from = decoder.parameters();
  NamedTensors to = copy->parameters();
  for (size_t i = 0; i < from.size(); ++i) to[i].second.copy_(from[i].second);
  return copy;
}

at::Tensor output_logits(const Decoder& decoder, const at::Tensor& hidden) {
  c10::NoGradGuard no_grad;
  return small_linear(hidden, decoder.output_weight(), {}, /*wide=*/true);
}

}  // namespace pan::model
