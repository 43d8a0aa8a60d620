#include "model/lora.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/nearest.h"
#include "core/rng.h"
#include "model/safetensors.h"
#include "model/transformer.h"

namespace pan::model {
namespace {

using core::Json;

constexpr char kAdapterFile[] = "adapter_model.safetensors", kConfigFile[] = "adapter_config.json";
constexpr char kPeftPrefix[] = "base_model.model.";
// Keeps fresh adapters apart from fresh weights, whose streams are numbered from 0.
constexpr uint64_t kFirstStream = uint64_t{1} << 32;

const std::vector<std::string>& all_targets() {
  static const std::vector<std::string> names = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                 "gate_proj", "up_proj", "down_proj"};
  return names;
}

std::string last_part(const std::string& module) { return module.substr(module.find('.') + 1); }

std::set<std::string> targets_of(const LoraConfig& config) {
  const std::vector<std::string>& known = all_targets();
  for (const std::string& name : config.targets) {
    const std::string near = core::nearest(name, known);
    PAN_CHECK(std::find(known.begin(), known.end(), name) != known.end(), kConfig,
              "no projection has this name")
        .pointer("/model/lora/targets")
        .expected("q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj")
        .got("\"" + name + "\"")
        .remedy(near.empty() ? "Take names of that list" : "Did you mean " + near + "?");
  }
  const std::vector<std::string>& chosen = config.targets.empty() ? known : config.targets;
  return {chosen.begin(), chosen.end()};
}

at::Tensor uniform(at::IntArrayRef shape, double bound, const core::rng::Key& key) {
  core::rng::Stream stream(key);
  at::Tensor values = at::empty(shape, at::kFloat);
  float* out = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i)
    out[i] = static_cast<float>(bound * (2 * stream.uniform() - 1));
  return values;
}

const Transformer& adapted_transformer(const Decoder& decoder) {
  const auto* t = dynamic_cast<const Transformer*>(&decoder);
  PAN_CHECK(t != nullptr && t->lora().enabled(), kInternal, "a decoder without adapters was asked for them");
  return *t;
}

// "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight" for "layers.3.self_attn.q_proj.lora_a".
std::string peft_name(const std::string& internal) {
  const size_t dot = internal.rfind('.');
  return std::string(kPeftPrefix) + "model." + internal.substr(0, dot) +
         (internal.substr(dot) == ".lora_a" ? ".lora_A.weight" : ".lora_B.weight");
}

void check_adapter_config(const Json& json, const std::string& path, const LoraConfig& config) {
  const auto type = core::get_required<std::string>(json, "/peft_type", path);
  PAN_CHECK(type == "LORA", kData, "the adapter is not a LoRA")
      .where(path)
      .pointer("/peft_type")
      .expected("\"LORA\"")
      .got("\"" + type + "\"");
  for (const char* key :
       {"use_rslora", "use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out"})
    PAN_CHECK(!core::get_or<bool>(json, std::string("/") + key, path, false), kData,
              "this variant of LoRA is not known")
        .where(path)
        .pointer(std::string("/") + key)
        .expected("false")
        .got("true");
  for (const char* key : {"rank_pattern", "alpha_pattern", "layers_to_transform", "target_parameters"})
    PAN_CHECK(!json.contains(key) || json[key].is_null() || json[key].empty(), kData,
              "adapters that differ from layer to layer are not known")
        .where(path)
        .pointer(std::string("/") + key)
        .expected("null or empty")
        .got(json[key].dump());
  const auto bias = core::get_or<std::string>(json, "/bias", path, "none");
  PAN_CHECK(bias == "none", kData, "adapters that train biases are not known")
      .where(path)
      .pointer("/bias")
      .expected("\"none\"")
      .got("\"" + bias + "\"");
  const auto rank = core::get_required<int64_t>(json, "/r", path);
  const auto alpha = core::get_required<double>(json, "/lora_alpha", path);
  PAN_CHECK(rank == config.rank && alpha == config.alpha, kData, "the adapter has another rank or alpha")
      .where(path)
      .expected("r " + std::to_string(config.rank) + ", lora_alpha " + Json(config.alpha).dump() +
                ", as model.lora says")
      .got("r " + std::to_string(rank) + ", lora_alpha " + Json(alpha).dump())
      .remedy("Set model.lora.rank and model.lora.alpha to the adapter's");
  if (!json.contains("target_modules") || !json["target_modules"].is_array()) return;  // the tensors decide
  std::set<std::string> names;
  for (const Json& name : json["target_modules"])
    if (name.is_string()) names.insert(name.get<std::string>());
  PAN_CHECK(names == targets_of(config), kData, "the adapter is of other projections")
      .where(path)
      .pointer("/target_modules")
      .expected(Json(targets_of(config)).dump() + ", as model.lora.targets says")
      .got(Json(names).dump())
      .remedy("Set model.lora.targets to the adapter's");
}

}  // namespace

at::Tensor Adapter::add_to(
    const at::Tensor& y, const at::Tensor& x,
    const std::function<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&)>& linear) const {
  std::vector<at::Tensor> rows;
  for (const AdapterPart& part : parts) {
    at::Tensor piece = parts.size() == 1 ? y : y.narrow(1, part.begin, part.rows);
    if (part.a.defined()) piece = piece + linear(linear(x, part.a, {}) * scale, part.b, {});
    rows.push_back(std::move(piece));
  }
  return rows.size() == 1 ? rows.front() : at::cat(rows, 1);
}

at::Tensor Adapter::merged(const at::Tensor& weight, const NamedTensors& masters,
                           const std::string& prefix) const {
  const at::ScalarType type = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor out = weight.to(type, /*non_blocking=*/false, /*copy=*/true);
  for (const AdapterPart& part : parts) {
    if (!part.a.defined()) continue;
    const at::Tensor a = value_of(masters, prefix + part.module + ".lora_a", part.a),
                     b = value_of(masters, prefix + part.module + ".lora_b", part.b);
    out.narrow(0, part.begin, part.rows).add_(at::mm(b.to(type), a.to(type)), scale);
  }
  return out;
}

namespace {

struct Module {
  std::string name;
  int64_t rows;
};
// The parts of each fused weight of a block, and the size of its input.
struct Projection {
  Adapter LayerAdapters::*which;
  int64_t inputs;
  std::vector<Module> modules;
};
std::vector<Projection> projections(const Arch& arch) {
  const int64_t c = arch.hidden_size, q = arch.num_heads * arch.head_dim,
                kv = arch.num_kv_heads * arch.head_dim, width = arch.intermediate_size;
  return {
      {&LayerAdapters::qkv, c, {{"self_attn.q_proj", q}, {"self_attn.k_proj", kv}, {"self_attn.v_proj", kv}}},
      {&LayerAdapters::output, q, {{"self_attn.o_proj", c}}},
      {&LayerAdapters::gate_up, c, {{"mlp.gate_proj", width}, {"mlp.up_proj", width}}},
      {&LayerAdapters::down, width, {{"mlp.down_proj", c}}}};
}

}  // namespace

std::vector<LayerAdapters> make_adapters(const Arch& arch, const DecoderOptions& options,
                                         const LoraConfig& config, uint64_t seed) {
  const c10::NoGradGuard no_grad;
  const std::set<std::string> targets = targets_of(config);
  const auto tensor_options = at::TensorOptions().dtype(options.dtype).device(options.device);
  const double scale = config.alpha / static_cast<double>(config.rank);
  uint64_t stream = kFirstStream;
  std::vector<LayerAdapters> layers(static_cast<size_t>(arch.num_layers));
  for (LayerAdapters& layer : layers) {
    for (const Projection& projection : projections(arch)) {
      Adapter adapter{.parts = {}, .scale = scale};
      int64_t begin = 0;
      bool any = false;
      for (const auto& [module, rows] : projection.modules) {
        AdapterPart part{.module = module, .begin = begin, .rows = rows, .a = {}, .b = {}};
        const core::rng::Key key{seed, core::rng::Purpose::kInit, stream++, 0};
        if (targets.count(last_part(module)) == 1) {
          any = true;
          const double bound = 1 / std::sqrt(static_cast<double>(projection.inputs));
          part.a = uniform({config.rank, projection.inputs}, bound, key).to(tensor_options);
          part.b = at::zeros({rows, config.rank}, tensor_options);
        }
        adapter.parts.push_back(std::move(part));
        begin += rows;
      }
      if (any) layer.*projection.which = std::move(adapter);
    }
  }
  return layers;
}

int64_t num_adapter_parameters(const Arch& arch, const LoraConfig& config) {
  const std::set<std::string> targets = targets_of(config);
  int64_t in_layer = 0;
  for (const Projection& projection : projections(arch))
    for (const auto& [module, rows] : projection.modules)
      if (targets.count(last_part(module)) == 1) in_layer += config.rank * (projection.inputs + rows);
  return arch.num_layers * in_layer;
}

std::unique_ptr<Decoder> with_adapters(const Decoder& base, const LoraConfig& config, uint64_t seed) {
  const auto* transformer = dynamic_cast<const Transformer*>(&base);
  PAN_CHECK(transformer != nullptr && !transformer->lora().enabled() && config.enabled(), kInternal,
            "adapters are put on a plain decoder");
  auto decoder = std::make_unique<Transformer>(*transformer, config,
                                               make_adapters(base.arch(), base.options(), config, seed));
  if (!config.path.empty()) load_adapter(config.path, *decoder);
  return decoder;
}

void save_adapter(const std::string& folder, const Decoder& decoder, const std::string& base_model,
                  const NamedTensors& masters, const NamedTensors& extra) {
  const c10::NoGradGuard no_grad;
  const Transformer& t = adapted_transformer(decoder);
  const LoraConfig& config = t.lora();
  Json modules = nullptr;
  if (!extra.empty()) modules = Json::array({"score"});
  const Json json = {{"peft_type", "LORA"},
                     {"task_type", extra.empty() ? "CAUSAL_LM" : "TOKEN_CLS"},
                     {"base_model_name_or_path", base_model},
                     {"r", config.rank},
                     {"lora_alpha", config.alpha},
                     {"lora_dropout", 0.0},
                     {"target_modules", targets_of(config)},
                     {"modules_to_save", modules},
                     {"bias", "none"},
                     {"fan_in_fan_out", false},
                     {"use_rslora", false},
                     {"use_dora", false},
                     {"init_lora_weights", true},
                     {"inference_mode", true}};
  const std::string text = core::dump_json(json, 2) + "\n";
  const auto file = core::disk().create(folder + "/" + kConfigFile);
  file->write(text.data(), text.size());
  file->sync();
  file->close();
  NamedTensors tensors;
  for (const auto& [name, tensor] : decoder.parameters())
    tensors.emplace_back(peft_name(name), value_of(masters, name, tensor));
  for (const auto& [name, tensor] : extra)
    tensors.emplace_back(kPeftPrefix + name, value_of(masters, name, tensor));
  write_safetensors(folder + "/" + kAdapterFile, tensors, {{"format", "pt"}}, at::kFloat);
}

void load_adapter(const std::string& folder, const Decoder& decoder) {
  const c10::NoGradGuard no_grad;
  const LoraConfig& config = adapted_transformer(decoder).lora();
  const std::string config_path = folder + "/" + kConfigFile;
  check_adapter_config(core::read_json_file(config_path), config_path, config);
  const SafetensorsFile file(folder + "/" + kAdapterFile);
  std::set<std::string> known = {std::string(kPeftPrefix) + "score.weight",
                                 std::string(kPeftPrefix) + "score.bias"};
  std::string missing, unexpected;
  for (const auto& [name, tensor] : decoder.parameters()) {
    known.insert(peft_name(name));
    if (file.find(peft_name(name)) == nullptr) missing += (missing.empty() ? "" : ", ") + peft_name(name);
  }
  for (const TensorInfo& info : file.tensors())
    if (known.count(info.name) == 0) unexpected += (unexpected.empty() ? "" : ", ") + info.name;
  PAN_CHECK(missing.empty() && unexpected.empty(), kData, "the adapter does not fit the model")
      .where(file.path())
      .expected("lora_A and lora_B of model.lora.targets in each of " +
                std::to_string(decoder.arch().num_layers) + " layers")
      .got("missing: " + (missing.empty() ? "none" : missing.substr(0, 500)) +
           "; unexpected: " + (unexpected.empty() ? "none" : unexpected.substr(0, 500)))
      .remedy("Set model.path to the adapter's base model and model.lora.targets to its target_modules");
  for (const auto& [name, tensor] : decoder.parameters()) {
    const TensorInfo* info = file.find(peft_name(name));
    PAN_CHECK(tensor.sizes() == at::IntArrayRef(info->shape), kData, "an adapter has the wrong shape")
        .where(file.path())
        .pointer(info->name)
        .expected(c10::str(tensor.sizes()))
        .got(c10::str(at::IntArrayRef(info->shape)))
        .remedy("Set model.path to the adapter's base model");
    file.load_into(info->name, tensor, /*require_finite=*/true);
  }
}

}  // namespace pan::model
