#include "model/arch.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"

namespace pan::model {
namespace {

using core::Json;

// One config.json being read; errors name the file and the pointer.
class Reader {
 public:
  Reader(const Json& json, std::string path) : json_(json), path_(std::move(path)) {}

  bool has(const std::string& key) const { return json_.contains(key) && !json_[key].is_null(); }
  const Json& operator[](const std::string& key) const { return json_[key]; }
  const std::string& path() const { return path_; }

  int64_t size(const std::string& key) const {
    return checked_size(key, core::get_required<int64_t>(json_, "/" + key, path_));
  }
  int64_t size_or(const std::string& key, int64_t fallback) const {
    return checked_size(key, core::get_or<int64_t>(json_, "/" + key, path_, fallback));
  }
  bool flag_or(const std::string& key, bool fallback) const {
    return core::get_or<bool>(json_, "/" + key, path_, fallback);
  }
  std::string text_or(const std::string& key, const std::string& fallback) const {
    return core::get_or<std::string>(json_, "/" + key, path_, fallback);
  }
  int64_t integer_or(const std::string& key, int64_t fallback) const {
    return core::get_or<int64_t>(json_, "/" + key, path_, fallback);
  }
  double number_or(const std::string& key, double fallback) const {
    return core::get_or<double>(json_, "/" + key, path_, fallback);
  }

  core::Error error(const std::string& key, const std::string& what) const {
    return core::Error(core::ErrorKind::kData, what).where(path_).pointer("/" + key);
  }
  // Refuses `key` unless it is absent, null or one of `harmless`.
  void refuse_unless(const std::string& key, const std::vector<Json>& harmless,
                     const std::string& what) const {
    if (!has(key)) return;
    for (const Json& value : harmless)
      if (json_[key] == value) return;
    throw error(key, what + " is not supported").got(core::dump_json(json_[key]));
  }

 private:
  int64_t checked_size(const std::string& key, int64_t value) const {
    // Far above any model, and low enough that no product of two overflows.
    if (value < 1 || value > (int64_t{1} << 30))
      throw error(key, "a size is out of range").expected("1 to 2^30").got(std::to_string(value));
    return value;
  }
  const Json& json_;
  std::string path_;
};

Family read_family(const Reader& config) {
  const std::string type = config.text_or("model_type", "");
  const std::string supported = "llama, qwen2 or qwen3";
  if (type == "llama") return Family::kLlama;
  if (type == "qwen2") return Family::kQwen2;
  if (type == "qwen3") return Family::kQwen3;
  throw config.error("model_type", "the architecture is not supported")
      .expected(supported)
      .got(type.empty() ? "nothing" : type)
      .remedy("Use a model of the families Llama (SmolLM2, Llama 3), Qwen2, Qwen2.5 or Qwen3");
}

// What other variants of these families do to the numbers and this decoder does not. Keys that transformers'
// own classes of the three families do not read have no effect there, and none here.
void refuse_unsupported(const Reader& config) {
  config.refuse_unless("quantization_config", {}, "a quantised model");
  config.refuse_unless("auto_map", {}, "a model with its own code");
  config.refuse_unless("hidden_act", {"silu", "swish"}, "an activation other than silu");
  config.refuse_unless("partial_rotary_factor", {1, 1.0}, "a rotary embedding of a part of the head");
  config.refuse_unless("rope_interleaved", {false}, "an interleaved rotary embedding");
  if (config.number_or("attention_dropout", 0.0) != 0.0)
    core::log_warn("model.attention_dropout",
                   config.path() + ": attention_dropout is not applied in training");
  config.refuse_unless("is_encoder_decoder", {false}, "an encoder-decoder model");
  config.refuse_unless("add_cross_attention", {false}, "cross attention");
  for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok"})
    config.refuse_unless(key, {0, 1}, "a mixture of experts");
  for (const char* key :
       {"embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling",
        "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping", "no_rope_layers"})
    config.refuse_unless(key, {}, std::string("the setting ") + key);
}

void refuse_windows(const Reader& config, const Arch& arch) {
  if (config.has("layer_types")) {
    const Json& types = config["layer_types"];
    if (!types.is_array() || static_cast<int64_t>(types.size()) != arch.num_layers)
      throw config.error("layer_types", "layer_types must name one type for each layer")
          .expected(std::to_string(arch.num_layers) + " names")
          .got(core::dump_json(types));
    for (size_t i = 0; i < types.size(); ++i)
      if (types[i] != "full_attention")
        throw config
            .error("layer_types/" + std::to_string(i), "a layer without full attention is not supported")
            .expected("full_attention")
            .got(core::dump_json(types[i]));
  }
  if (arch.family == Family::kLlama) {
    config.refuse_unless("sliding_window", {}, "a sliding attention window");
    return;
  }
  // Qwen: the window counts only with use_sliding_window, and only from layer max_window_layers on.
  if (!config.flag_or("use_sliding_window", false) || !config.has("sliding_window")) return;
  const int64_t first = config.integer_or("max_window_layers", 28);
  if (config.has("layer_types") || first >= arch.num_layers) return;
  throw config.error("sliding_window", "a sliding attention window is not supported")
      .expected("use_sliding_window: false")
      .got(core::dump_json(config["sliding_window"]) + " tokens from layer " + std::to_string(first));
}

double positive(const Json& object, const std::string& pointer, const std::string& key,
                const std::string& path) {
  const auto value = core::get_required<double>(object, "/" + key, path + " " + pointer);
  PAN_CHECK(std::isfinite(value) && value > 0, kData, "a rotary setting must be a positive number")
      .where(path)
      .pointer(pointer + "/" + key)
      .got(std::to_string(value));
  return value;
}

// The two spellings: rope_parameters {rope_type, rope_theta, ...}; or rope_theta beside rope_scaling
// {rope_type or type, ...}.
Rope read_rope(const Reader& config, int64_t max_positions) {
  Rope rope;
  const bool is_new = config.has("rope_parameters");
  if (is_new && config.has("rope_scaling") && config["rope_scaling"] != config["rope_parameters"])
    throw config.error("rope_scaling", "rotary settings are given twice")
        .expected("rope_parameters or rope_scaling, not both");
  const std::string key = is_new ? "rope_parameters" : "rope_scaling";
  if (config.has("rope_theta"))
    rope.theta = positive(Json{{"rope_theta", config["rope_theta"]}}, "", "rope_theta", config.path());
  if (!config.has(key)) return rope;

  const Json& settings = config[key];
  const std::string pointer = "/" + key;
  if (!settings.is_object())
    throw config.error(key, "rotary settings must be an object").got(core::dump_json(settings));
  std::set<std::string> allowed = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
  if (settings.contains("rope_theta")) {
    const double theta = positive(settings, pointer, "rope_theta", config.path());
    if (config.has("rope_theta") && theta != rope.theta)
      throw config.error(key + "/rope_theta", "rope_theta is given twice, with two values")
          .got(std::to_string(theta));
    rope.theta = theta;
  }
  const auto type_name =
      core::get_or<std::string>(settings, "/rope_type", config.path(),
                                core::get_or<std::string>(settings, "/type", config.path(), "default"));
  if (core::get_or<double>(settings, "/partial_rotary_factor", config.path(), 1.0) != 1.0)
    throw config.error(key + "/partial_rotary_factor",
                       "a rotary embedding of a part of the head is not supported");
  if (type_name == "linear" || type_name == "llama3") {
    rope.type = type_name == "linear" ? RopeType::kLinear : RopeType::kLlama3;
    rope.factor = positive(settings, pointer, "factor", config.path());
    allowed.insert({"factor", "original_max_position_embeddings"});
  } else if (type_name != "default") {
    throw config.error(key + "/rope_type", "the type of rotary embedding is not supported")
        .expected("default, linear or llama3")
        .got(type_name);
  }
  if (rope.type == RopeType::kLlama3) {
    allowed.insert({"low_freq_factor", "high_freq_factor"});
    rope.low_freq_factor = positive(settings, pointer, "low_freq_factor", config.path());
    rope.high_freq_factor = positive(settings, pointer, "high_freq_factor", config.path());
    rope.original_context =
        core::get_or<int64_t>(settings, "/original_max_position_embeddings", config.path(), max_positions);
    if (rope.high_freq_factor <= rope.low_freq_factor || rope.original_context < 1)
      throw config.error(key, "the llama3 rotary settings contradict each other")
          .expected("high_freq_factor > low_freq_factor, original_max_position_embeddings >= 1");
  }
  for (const auto& [name, value] : settings.items())
    if (allowed.count(name) == 0 && !value.is_null())
      throw config.error(key + "/" + name, "a rotary setting is not known for type " + type_name);
  return rope;
}

std::vector<int64_t> read_token_ids(const Reader& config, const std::string& key) {
  if (!config.has(key)) return {};
  const Json& value = config[key];
  std::vector<int64_t> ids;
  for (const Json& id : value.is_array() ? value : Json::array({value})) {
    if (!id.is_number_integer())
      throw config.error(key, "a token id is not an integer").got(core::dump_json(id));
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

int64_t read_token_id(const Reader& config, const std::string& key) {
  const std::vector<int64_t> ids = read_token_ids(config, key);
  return ids.empty() ? -1 : ids.front();
}

void check_heads(const Reader& config, const Arch& arch) {
  if (arch.num_heads % arch.num_kv_heads != 0)
    throw config.error("num_key_value_heads", "the key heads do not divide the query heads")
        .expected("a divisor of " + std::to_string(arch.num_heads))
        .got(std::to_string(arch.num_kv_heads));
  if (arch.head_dim % 2 != 0)
    throw config.error("head_dim", "the head size must be even").got(std::to_string(arch.head_dim));
}

}  // namespace

int64_t Arch::num_parameters() const {
  const int64_t q = num_heads * head_dim, kv = num_kv_heads * head_dim, c = hidden_size;
  int64_t layer = 2 * c + (q + 2 * kv) * c + c * q + 3 * c * intermediate_size;
  if (qkv_bias) layer += q + 2 * kv;
  if (output_bias) layer += c;
  if (mlp_bias) layer += 2 * intermediate_size + c;
  if (qk_norm) layer += 2 * head_dim;
  return num_layers * layer + vocab_size * c * (tied_embeddings ? 1 : 2) + c;
}

Arch read_arch(const std::string& folder) {
  const std::string path = folder + "/config.json";
  const Json json = core::read_json_file(path);
  PAN_CHECK(json.is_object(), kData, "config.json is not an object").where(path);
  const Reader config(json, path);

  Arch arch;
  arch.family = read_family(config);
  refuse_unsupported(config);
  arch.vocab_size = config.size("vocab_size");
  arch.hidden_size = config.size("hidden_size");
  arch.intermediate_size = config.size("intermediate_size");
  arch.num_layers = config.size("num_hidden_layers");
  arch.num_heads = config.size("num_attention_heads");
  arch.num_kv_heads = config.size_or("num_key_value_heads", arch.num_heads);
  if (!config.has("head_dim") && arch.family != Family::kQwen3 && arch.hidden_size % arch.num_heads != 0)
    throw config.error("num_attention_heads",
                       "the heads do not divide the hidden size, and head_dim is not given");
  // transformers' default for Qwen3 is 128, whatever the hidden size.
  arch.head_dim =
      config.size_or("head_dim", arch.family == Family::kQwen3 ? 128 : arch.hidden_size / arch.num_heads);
  arch.max_positions =
      config.size_or("max_position_embeddings", arch.family == Family::kLlama ? 2048 : 32768);
  arch.rms_norm_eps = config.number_or("rms_norm_eps", 1e-6);
  if (!(arch.rms_norm_eps >= 0.0 && arch.rms_norm_eps < 1.0))
    throw config.error("rms_norm_eps", "the epsilon of the norms is out of range").expected("0 to 1");
  arch.tied_embeddings = config.flag_or("tie_word_embeddings", false);
  arch.qk_norm = arch.family == Family::kQwen3;
  if (arch.family == Family::kQwen2) {
    arch.qkv_bias = true;
  } else {
    arch.qkv_bias = arch.output_bias = config.flag_or("attention_bias", false);
  }
  if (arch.family == Family::kLlama) arch.mlp_bias = config.flag_or("mlp_bias", false);
  check_heads(config, arch);
  refuse_windows(config, arch);
  arch.rope = read_rope(config, arch.max_positions);
  arch.eos_token_ids = read_token_ids(config, "eos_token_id");
  arch.bos_token_id = read_token_id(config, "bos_token_id");
  arch.pad_token_id = read_token_id(config, "pad_token_id");
  return arch;
}

}  // namespace pan::model
