#include "model/value_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "core/error.h"
#include "core/file.h"
#include "model/transformer.h"
#include "model/weights.h"

namespace pan::model {

ValueHead ValueHead::zeros(int64_t hidden_size, at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  return {at::zeros({1, hidden_size}, options), at::zeros({1}, options)};
}

at::Tensor ValueHead::operator()(const at::Tensor& hidden) const {
  return at::linear(hidden.to(weight.scalar_type()), weight, bias).squeeze(-1);
}

NamedTensors ValueHead::parameters() const { return {{"score.weight", weight}, {"score.bias", bias}}; }

Critic load_critic(const std::string& folder, const DecoderOptions& options) {
  Arch arch = read_arch(folder);
  arch.tied_embeddings = true;  // a critic has no output weights
  Critic critic;
  critic.head = ValueHead::zeros(arch.hidden_size, options.device);
  auto trunk = std::make_unique<Transformer>(arch, options, core::read_file(folder + "/config.json"));
  LoadNames names;
  names.ignore_head = true;
  names.extra = critic.head.parameters();
  const std::vector<bool> found = load_weights(folder, arch, trunk->weights(), names);
  PAN_CHECK(found[0] || !found[1], kData, "a critic's head has a bias but no weight")
      .where(folder)
      .pointer("score.weight");
  critic.head_found = found[0];
  critic.trunk = std::move(trunk);
  return critic;
}

}  // namespace pan::model
