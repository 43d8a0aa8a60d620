// Writing models as Hugging Face folders: config.json and model.safetensors.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/decoder.h"
#include "model/safetensors.h"
#include "model/value_model.h"
#include "model/weights.h"

namespace pan::model {
namespace {

using core::Json;

struct FamilyNames {
  const char* model_type;
  const char* class_prefix;
};
FamilyNames names_of(Family family) {
  switch (family) {
    case Family::kLlama:
      return {"llama", "Llama"};
    case Family::kQwen2:
      return {"qwen2", "Qwen2"};
    case Family::kQwen3:
      return {"qwen3", "Qwen3"};
  }
  throw core::Error(core::ErrorKind::kInternal, "unknown family");
}

Json rope_json(const Rope& rope) {
  Json json = {{"rope_theta", rope.theta}};
  switch (rope.type) {
    case RopeType::kDefault:
      json["rope_type"] = "default";
      break;
    case RopeType::kLinear:
      json["rope_type"] = "linear";
      break;
    case RopeType::kLlama3:
      json["rope_type"] = "llama3";
      break;
  }
  if (rope.type != RopeType::kDefault) json["factor"] = rope.factor;
  if (rope.type == RopeType::kLlama3) {
    json["low_freq_factor"] = rope.low_freq_factor;
    json["high_freq_factor"] = rope.high_freq_factor;
    json["original_max_position_embeddings"] = rope.original_context;
  }
  return json;
}

// A config.json from scratch, for models that were not loaded from one. Both spellings of the rotary base,
// for old and new readers.
Json fresh_config(const Arch& arch) {
  Json json = {{"model_type", names_of(arch.family).model_type},
               {"vocab_size", arch.vocab_size},
               {"hidden_size", arch.hidden_size},
               {"intermediate_size", arch.intermediate_size},
               {"num_hidden_layers", arch.num_layers},
               {"num_attention_heads", arch.num_heads},
               {"num_key_value_heads", arch.num_kv_heads},
               {"head_dim", arch.head_dim},
               {"hidden_act", "silu"},
               {"max_position_embeddings", arch.max_positions},
               {"rms_norm_eps", arch.rms_norm_eps},
               {"tie_word_embeddings", arch.tied_embeddings},
               {"rope_theta", arch.rope.theta},
               {"rope_parameters", rope_json(arch.rope)},
               {"attention_dropout", 0.0},
               {"initializer_range", 0.02},
               {"use_cache", true}};
  if (arch.family != Family::kQwen2) json["attention_bias"] = arch.qkv_bias;
  if (arch.family == Family::kLlama) json["mlp_bias"] = arch.mlp_bias;
  if (arch.family != Family::kLlama) json["use_sliding_window"] = false;
  if (arch.eos_token_ids.size() == 1) json["eos_token_id"] = arch.eos_token_ids.front();
  if (arch.eos_token_ids.size() > 1) json["eos_token_id"] = arch.eos_token_ids;
  if (arch.bos_token_id >= 0) json["bos_token_id"] = arch.bos_token_id;
  if (arch.pad_token_id >= 0) json["pad_token_id"] = arch.pad_token_id;
  return json;
}

Json config_of(const Decoder& decoder, const std::string& class_suffix, at::ScalarType dtype) {
  const Arch& arch = decoder.arch();
  Json json = decoder.source_config().empty()
                  ? fresh_config(arch)
                  : core::parse_json(decoder.source_config(), "the model's config.json");
  json["architectures"] = Json::array({names_of(arch.family).class_prefix + class_suffix});
  const char* type = dtype == at::kBFloat16 ? "bfloat16" : dtype == at::kHalf ? "float16" : "float32";
  // Newer readers know "dtype", older ones "torch_dtype"; one of them is kept up to date, and never both in
  // disagreement.
  const bool old = json.contains("torch_dtype") && !json.contains("dtype");
  json.erase("torch_dtype");
  json[old ? "torch_dtype" : "dtype"] = type;
  return json;
}

void check_dtype(at::ScalarType dtype) {
  PAN_CHECK(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf, kInternal,
            "models are written in float32, bfloat16 or float16")
      .got(c10::toString(dtype));
}

void write_folder(const std::string& folder, const Json& config, const NamedTensors& tensors,
                  at::ScalarType dtype) {
  const std::string text = core::dump_json(config, 2) + "\n";
  const auto file = core::disk().create(folder + "/config.json");
  file->write(text.data(), text.size());
  file->sync();
  file->close();
  write_safetensors(folder + "/model.safetensors", tensors, {{"format", "pt"}}, dtype);
}

}  // namespace

void save_decoder(const std::string& folder, const Decoder& decoder, at::ScalarType dtype,
                  const NamedTensors& masters) {
  check_dtype(dtype);
  c10::NoGradGuard no_grad;
  Json config = config_of(decoder, "ForCausalLM", dtype);
  config["tie_word_embeddings"] = decoder.arch().tied_embeddings;
  write_folder(folder, config, decoder.export_tensors(masters, dtype), dtype);
}

void save_critic(const std::string& folder, const Decoder& trunk, const ValueHead& head, at::ScalarType dtype,
                 const NamedTensors& masters) {
  check_dtype(dtype);
  c10::NoGradGuard no_grad;
  Json config = config_of(trunk, "ForTokenClassification", dtype);
  config["num_labels"] = 1;
  config["id2label"] = {{"0", "LABEL_0"}};
  config["label2id"] = {{"LABEL_0", 0}};
  NamedTensors trunk_masters, head_tensors = head.parameters();
  for (const auto& [name, tensor] : masters) {
    bool is_head = false;
    for (auto& entry : head_tensors) {
      if (entry.first != name) continue;
      entry.second = tensor;
      is_head = true;
    }
    if (!is_head) trunk_masters.emplace_back(name, tensor);
  }
  NamedTensors tensors;
  for (auto& entry : trunk.export_tensors(trunk_masters, dtype))
    if (entry.first != "lm_head.weight") tensors.push_back(std::move(entry));
  tensors.insert(tensors.end(), head_tensors.begin(), head_tensors.end());
  write_folder(folder, config, tensors, dtype);
}

}  // namespace pan::model
