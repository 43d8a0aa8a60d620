#include "model/weights.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/safetensors.h"

namespace pan::model {
namespace {

constexpr size_t kMaxListed = 12;  // names in one message

std::string list_names(const std::vector<std::string>& names) {
  std::string text = std::to_string(names.size()) + " (";
  for (size_t i = 0; i < std::min(names.size(), kMaxListed); ++i) text += (i ? ", " : "") + names[i];
  return text + (names.size() > kMaxListed ? ", ...)" : ")");
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// The files of a model folder and which of them holds which tensor.
class WeightFolder {
 public:
  explicit WeightFolder(const std::string& folder) : folder_(folder) {
    const std::string single = folder + "/model.safetensors",
                      index = folder + "/model.safetensors.index.json";
    if (core::exists(single)) {
      files_.emplace_back(single);
    } else {
      PAN_CHECK(core::exists(index), kData, "the folder holds no weights")
          .where(folder)
          .expected("model.safetensors or model.safetensors.index.json")
          .got(core::exists(folder + "/pytorch_model.bin") ? "pytorch_model.bin, which is not read"
                                                           : "neither")
          .remedy(
              "Fetch the model again, or save it with transformers' save_pretrained, which writes "
              "safetensors");
      open_shards(index);
    }
    for (size_t i = 0; i < files_.size(); ++i) {
      for (const TensorInfo& info : files_[i].tensors()) {
        const bool is_new = where_.emplace(info.name, i).second;
        PAN_CHECK(is_new, kData, "a tensor is in two shards").where(files_[i].path()).pointer(info.name);
      }
    }
    if (!index_.empty()) check_index(index);
  }

  const SafetensorsFile* file_of(const std::string& name) const {
    const auto found = where_.find(name);
    return found == where_.end() ? nullptr : &files_[found->second];
  }
  const std::map<std::string, size_t>& names() const { return where_; }

 private:
  void open_shards(const std::string& index) {
    const core::Json json = core::read_json_file(index);
    PAN_CHECK(json.is_object() && json.contains("weight_map") && json["weight_map"].is_object(), kData,
              "the index of shards has no weight_map")
        .where(index)
        .pointer("/weight_map");
    std::set<std::string> shards;
    for (const auto& [name, shard] : json["weight_map"].items()) {
      PAN_CHECK(shard.is_string(), kData, "a shard is not named by text").where(index).pointer(name);
      const auto file = shard.get<std::string>();
      PAN_CHECK(!file.empty() && file.find('/') == std::string::npos, kData,
                "a shard must be a file of the same folder")
          .where(index)
          .pointer(name)
          .got(file);
      index_.emplace(name, file);
      shards.insert(file);
    }
    for (const std::string& shard : shards) {
      PAN_CHECK(core::exists(folder_ + "/" + shard), kData, "a shard is missing")
          .where(folder_ + "/" + shard)
          .expected("a file, as model.safetensors.index.json says")
          .remedy("Fetch the model again");
      files_.emplace_back(folder_ + "/" + shard);
    }
  }

  void check_index(const std::string& index) const {
    for (const auto& [name, shard] : index_) {
      const SafetensorsFile* file = file_of(name);
      PAN_CHECK(file != nullptr && file->path() == folder_ + "/" + shard, kData,
                "the index does not fit the shards")
          .where(index)
          .pointer(name)
          .expected(shard)
          .got(file ? file->path() : "no shard holds it");
    }
    for (const auto& [name, i] : where_)
      PAN_CHECK(index_.count(name) == 1, kData, "the index does not fit the shards")
          .where(index)
          .pointer(name)
          .expected("an entry, as " + files_[i].path() + " holds it");
  }

  std::string folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t> where_;
  std::map<std::string, std::string> index_;
};

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Tied folders may hold a second copy of the embedding as lm_head.weight: fine when equal, another model when
// not.
void check_redundant_head(const WeightFolder& folder, const Weights& weights) {
  const SafetensorsFile* file = folder.file_of("lm_head.weight");
  const TensorInfo* info = file->find("lm_head.weight");
  PAN_CHECK(at::IntArrayRef(info->shape) == weights.embedding.sizes(), kData, "a weight has the wrong shape")
      .where(file->path())
      .pointer("lm_head.weight")
      .expected(shape_text(weights.embedding.sizes()))
      .got(shape_text(info->shape));
  const SafetensorsFile* other = folder.file_of("model.embed_tokens.weight");
  PAN_CHECK(at::equal(file->load("lm_head.weight"), other->load("model.embed_tokens.weight")), kData,
            "config.json ties the output weights to the embedding, but the folder holds other output weights")
      .where(file->path())
      .pointer("lm_head.weight")
      .remedy("Set tie_word_embeddings to false in config.json if the separate weights are meant");
}

}  // namespace

Weights allocate_weights(const Arch& arch, const DecoderOptions& options) {
  const auto tensor = [&](std::vector<int64_t> shape) {
    return at::empty(shape, at::TensorOptions().dtype(options.dtype).device(options.device));
  };
  const int64_t c = arch.hidden_size, d = arch.head_dim, width = arch.intermediate_size;
  const int64_t qkv = (arch.num_heads + 2 * arch.num_kv_heads) * d;
  Weights weights;
  weights.embedding = tensor({arch.vocab_size, c});
  for (int64_t i = 0; i < arch.num_layers; ++i) {
    LayerWeights layer;
    layer.input_norm = tensor({c});
    layer.qkv = tensor({qkv, c});
    if (arch.qkv_bias) layer.qkv_bias = tensor({qkv});
    if (arch.qk_norm) {
      layer.q_norm = tensor({d});
      layer.k_norm = tensor({d});
    }
    layer.output = tensor({c, arch.num_heads * d});
    if (arch.output_bias) layer.output_bias = tensor({c});
    layer.post_norm = tensor({c});
    layer.gate_up = tensor({2 * width, c});
    layer.down = tensor({c, width});
    if (arch.mlp_bias) {
      layer.gate_up_bias = tensor({2 * width});
      layer.down_bias = tensor({c});
    }
    weights.layers.push_back(std::move(layer));
  }
  weights.norm = tensor({c});
  if (!arch.tied_embeddings) weights.head = tensor({arch.vocab_size, c});
  return weights;
}

namespace {

// Calls visit(name, tensor) for every parameter an architecture may have, defined or not, in the order of the
// forward.
template <class W, class Visit>
void visit_parameters(W& weights, const Visit& visit) {
  visit("embedding.weight", weights.embedding);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    auto& layer = weights.layers[i];
    const std::string prefix = "layers." + std::to_string(i) + ".";
    visit(prefix + "input_norm.weight", layer.input_norm);
    visit(prefix + "qkv.weight", layer.qkv);
    visit(prefix + "qkv.bias", layer.qkv_bias);
    visit(prefix + "q_norm.weight", layer.q_norm);
    visit(prefix + "k_norm.weight", layer.k_norm);
    visit(prefix + "output.weight", layer.output);
    visit(prefix + "output.bias", layer.output_bias);
    visit(prefix + "post_norm.weight", layer.post_norm);
    visit(prefix + "gate_up.weight", layer.gate_up);
    visit(prefix + "gate_up.bias", layer.gate_up_bias);
    visit(prefix + "down.weight", layer.down);
    visit(prefix + "down.bias", layer.down_bias);
  }
  visit("norm.weight", weights.norm);
  visit("head.weight", weights.head);
}

}  // namespace

NamedTensors internal_parameters(const Weights& weights) {
  NamedTensors out;
  visit_parameters(weights, [&](const std::string& name, const at::Tensor& tensor) {
    if (tensor.defined()) out.emplace_back(name, tensor);
  });
  return out;
}

at::Tensor value_of(const NamedTensors& values, const std::string& name, const at::Tensor& fallback) {
  const auto found =
      std::find_if(values.begin(), values.end(), [&](const auto& entry) { return entry.first == name; });
  return found == values.end() ? fallback : found->second;
}

Weights weights_of(const Arch& arch, const NamedTensors& parameters, const NamedTensors& replacements) {
  std::map<std::string, at::Tensor> by_name(parameters.begin(), parameters.end());
  for (const auto& [name, tensor] : replacements) {
    const auto found = by_name.find(name);
    PAN_CHECK(found != by_name.end() && found->second.sizes() == tensor.sizes(), kInternal,
              "a value is given for a parameter that the model does not have in that shape")
        .pointer(name)
        .got(shape_text(tensor.sizes()));
    found->second = tensor;
  }
  Weights weights;
  weights.layers.resize(static_cast<size_t>(arch.num_layers));
  visit_parameters(weights, [&](const std::string& name, at::Tensor& tensor) {
    const auto found = by_name.find(name);
    if (found != by_name.end()) tensor = found->second;
  });
  return weights;
}

NamedTensors hugging_face_tensors(const Arch& arch, const Weights& weights) {
  NamedTensors out;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    if (tensor.defined()) out.emplace_back(name, tensor);
  };
  const auto add_parts = [&](const std::string& prefix, const std::string& suffix, const at::Tensor& fused,
                             const std::vector<std::pair<std::string, int64_t>>& parts) {
    if (!fused.defined()) return;
    int64_t begin = 0;
    for (const auto& [name, rows] : parts) {
      out.emplace_back(prefix + name + suffix, fused.narrow(0, begin, rows));
      begin += rows;
    }
  };
  const int64_t q_rows = arch.num_heads * arch.head_dim, kv_rows = arch.num_kv_heads * arch.head_dim;
  const std::vector<std::pair<std::string, int64_t>> qkv = {
      {"q_proj", q_rows}, {"k_proj", kv_rows}, {"v_proj", kv_rows}};
  const std::vector<std::pair<std::string, int64_t>> gate_up = {{"gate_proj", arch.intermediate_size},
                                                                {"up_proj", arch.intermediate_size}};
  add("model.embed_tokens.weight", weights.embedding);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    const LayerWeights& layer = weights.layers[i];
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    add(prefix + "input_layernorm.weight", layer.input_norm);
    add_parts(prefix + "self_attn.", ".weight", layer.qkv, qkv);
    add_parts(prefix + "self_attn.", ".bias", layer.qkv_bias, qkv);
    add(prefix + "self_attn.q_norm.weight", layer.q_norm);
    add(prefix + "self_attn.k_norm.weight", layer.k_norm);
    add(prefix + "self_attn.o_proj.weight", layer.output);
    add(prefix + "self_attn.o_proj.bias", layer.output_bias);
    add(prefix + "post_attention_layernorm.weight", layer.post_norm);
    add_parts(prefix + "mlp.", ".weight", layer.gate_up, gate_up);
    add_parts(prefix + "mlp.", ".bias", layer.gate_up_bias, gate_up);
    add(prefix + "mlp.down_proj.weight", layer.down);
    add(prefix + "mlp.down_proj.bias", layer.down_bias);
  }
  add("model.norm.weight", weights.norm);
  add("lm_head.weight", weights.head);
  return out;
}

std::vector<bool> load_weights(const std::string& folder, const Arch& arch, const Weights& weights,
                               const LoadNames& names) {
  c10::NoGradGuard no_grad;
  const WeightFolder files(folder);
  const NamedTensors wanted = hugging_face_tensors(arch, weights);

  std::vector<std::string> missing, unexpected;
  std::set<std::string> known;
  for (const auto& [name, tensor] : wanted) {
    known.insert(name);
    if (files.file_of(name) == nullptr) missing.push_back(name);
  }
  for (const auto& [name, tensor] : names.extra) known.insert(name);
  for (const auto& [name, i] : files.names()) {
    if (known.count(name) == 1 || ends_with(name, ".rotary_emb.inv_freq"))
      continue;  // old files keep that buffer
    if (name == "lm_head.weight" && (names.ignore_head || arch.tied_embeddings)) continue;
    unexpected.push_back(name);
  }
  PAN_CHECK(missing.empty() && unexpected.empty(), kData,
            "the weights are not those of the architecture in config.json")
      .where(folder)
      .expected("the tensors of a model with " + std::to_string(arch.num_layers) + " layers")
      .got("missing: " + list_names(missing) + "; unexpected: " + list_names(unexpected))
      .remedy("config.json and weights are of different models; take both from one folder");

  const auto load = [&](const std::string& name, const at::Tensor& tensor) {
    const SafetensorsFile* file = files.file_of(name);
    const TensorInfo* info = file->find(name);
    PAN_CHECK(at::isFloatingType(info->dtype), kData, "a weight has a type that is not a floating one")
        .where(file->path())
        .pointer(name)
        .expected("F32, BF16 or F16")
        .got(c10::toString(info->dtype));
    PAN_CHECK(tensor.sizes() == at::IntArrayRef(info->shape), kData, "a weight has the wrong shape")
        .where(file->path())
        .pointer(name)
        .expected(shape_text(tensor.sizes()) + ", as config.json says")
        .got(shape_text(info->shape))
        .remedy("config.json and weights are of different models; take both from one folder");
    file->load_into(name, tensor, /*require_finite=*/true);
  };
  for (const auto& [name, tensor] : wanted) load(name, tensor);
  if (arch.tied_embeddings && !names.ignore_head && files.file_of("lm_head.weight") != nullptr)
    check_redundant_head(files, weights);
  std::vector<bool> found;
  for (const auto& [name, tensor] : names.extra) {
    found.push_back(files.file_of(name) != nullptr);
    if (found.back()) load(name, tensor);
  }
  return found;
}

}  // namespace pan::model
