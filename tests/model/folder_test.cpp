// Model folders: config.json in all spellings, what is refused, weights that do not fit, writing folders,
// critics.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "kernels/bench/tensor_memory.h"
#include "model/decoder.h"
#include "model/safetensors.h"
#include "model/value_model.h"
#include "support/support.h"

namespace pan::model {
namespace {

namespace fs = std::filesystem;
using core::Json;
using pan::testing::fixture;
using pan::testing::read_text;
using pan::testing::TempFolder;
using pan::testing::write_text;

// A copy of a fixture whose config.json and weights can be changed.
class ModelCopy {
 public:
  explicit ModelCopy(const std::string& name) {
    fs::copy(fixture("model/" + name), folder_.path(),
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  }
  const std::string& path() const { return folder_.path(); }
  std::string operator/(const std::string& name) const { return folder_ / name; }

  void set(const std::string& pointer, const Json& value) {
    Json json = config();
    json[Json::json_pointer(pointer)] = value;
    write_text(folder_ / "config.json", json.dump());
  }
  void erase(const std::string& key) {
    Json json = config();
    json.erase(key);
    write_text(folder_ / "config.json", json.dump());
  }
  Json config() const { return Json::parse(read_text(folder_ / "config.json")); }

  void edit_weights(const std::function<void(NamedTensors&)>& edit) {
    NamedTensors tensors = read_safetensors(folder_ / "model.safetensors");
    edit(tensors);
    write_safetensors(folder_ / "model.safetensors", tensors);
  }

 private:
  TempFolder folder_;
};

core::Error refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const core::Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was refused";
  return {core::ErrorKind::kInternal, "nothing was refused"};
}

void expect_arch_refused(const ModelCopy& copy, const std::string& pointer, const std::string& text) {
  const core::Error error = refusal([&] { read_arch(copy.path()); });
  EXPECT_EQ(error.kind(), core::ErrorKind::kData) << error.what();
  EXPECT_NE(error.pointer_text().find(pointer), std::string::npos) << error.what();
  EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  EXPECT_NE(std::string(error.what()).find("config.json"), std::string::npos) << error.what();
}

void expect_weights_refused(const ModelCopy& copy, const std::string& text) {
  const core::Error error = refusal([&] { load_decoder(copy.path(), {}); });
  EXPECT_EQ(error.kind(), core::ErrorKind::kData) << error.what();
  EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
}

TEST(Arch, ReadsBothSpellingsOfTheRotarySettings) {
  const Arch fresh = read_arch(fixture("model/llama3_tied")),
             old = read_arch(fixture("model/llama3_sharded"));
  for (const Arch& arch : {fresh, old}) {
    EXPECT_EQ(arch.rope.type, RopeType::kLlama3);
    EXPECT_EQ(arch.rope.theta, 10000.0);
    EXPECT_EQ(arch.rope.factor, 4.0);
    EXPECT_EQ(arch.rope.original_context, 32);
  }
  EXPECT_TRUE(fresh.tied_embeddings);
  EXPECT_FALSE(old.tied_embeddings);
  const Arch linear = read_arch(fixture("model/llama_biases"));
  EXPECT_EQ(linear.rope.type, RopeType::kLinear);
  EXPECT_EQ(linear.rope.theta, 5000.0);
  EXPECT_TRUE(linear.qkv_bias && linear.output_bias && linear.mlp_bias);
  const Arch qwen3 = read_arch(fixture("model/qwen3"));
  EXPECT_EQ(qwen3.head_dim, 12);
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.qkv_bias);
}

TEST(Arch, ARotaryBaseMayBeAnInteger) {
  ModelCopy copy("qwen2");
  copy.set("/rope_theta", 1000000);
  EXPECT_EQ(read_arch(copy.path()).rope.theta, 1e6);
}

TEST(Arch, CountsParametersAsTheyAre) {
  for (const char* name : {"llama3_tied", "llama_biases", "qwen2", "qwen3"}) {
    const auto decoder = load_decoder(fixture(std::string("model/") + name), {});
    int64_t total = 0;
    for (const auto& [parameter, tensor] : decoder->parameters()) total += tensor.numel();
    EXPECT_EQ(decoder->arch().num_parameters(), total) << name;
  }
}

TEST(Arch, EndOfTextIsANumberAListOrAbsent) {
  ModelCopy copy("qwen2");
  EXPECT_EQ(read_arch(copy.path()).eos_token_ids, std::vector<int64_t>{2});
  copy.set("/eos_token_id", {5, 6});
  EXPECT_EQ(read_arch(copy.path()).eos_token_ids, (std::vector<int64_t>{5, 6}));
  copy.set("/eos_token_id", nullptr);
  EXPECT_TRUE(read_arch(copy.path()).eos_token_ids.empty());
  copy.set("/eos_token_id", "</s>");
  expect_arch_refused(copy, "/eos_token_id", "</s>");
}

TEST(Arch, RefusesWhatItDoesNotImplementByName) {
  struct Refusal {
    const char* model;
    const char* pointer;
    Json value;
    const char* text;
  };
  const Refusal refusals[] = {
      {"llama3_tied", "/model_type", "mixtral", "mixtral"},
      {"llama3_tied", "/model_type", "gemma3_text", "gemma3_text"},
      {"llama3_tied", "/hidden_act", "gelu", "gelu"},
      {"llama3_tied", "/rope_parameters/rope_type", "yarn", "yarn"},
      {"llama3_tied", "/rope_parameters/attention_factor", 2.0, "attention_factor"},
      {"llama3_tied", "/rope_parameters/partial_rotary_factor", 0.5, "part of the head"},
      {"llama3_tied", "/rope_parameters/factor", -1.0, "positive"},
      {"llama3_tied", "/rope_parameters/high_freq_factor", 0.5, "contradict"},
      {"llama3_tied", "/rope_theta", 77.0, "twice"},
      {"llama3_tied", "/rope_scaling", Json{{"type", "linear"}, {"factor", 2.0}}, "twice"},
      {"llama3_tied", "/rope_interleaved", true, "interleaved"},
      {"llama3_tied", "/num_local_experts", 8, "mixture of experts"},
      {"llama3_tied", "/quantization_config", Json{{"bits", 4}}, "quantised"},
      {"llama3_tied", "/sliding_window", 128, "sliding"},
      {"llama3_tied", "/num_key_value_heads", 3, "divide"},
      {"llama3_tied", "/head_dim", 7, "even"},
      {"llama3_tied", "/vocab_size", -5, "range"},
      {"llama3_tied", "/hidden_size", "wide", "hidden_size"},
      {"llama3_tied", "/rms_norm_eps", -1.0, "range"},
      {"qwen2", "/layer_types/1", "sliding_attention", "sliding_attention"},
      {"qwen2", "/layer_types", Json::array({"full_attention"}), "3 names"},
      {"qwen3", "/num_experts", 16, "mixture of experts"},
  };
  for (const Refusal& r : refusals) {
    SCOPED_TRACE(std::string(r.pointer) + " = " + r.value.dump());
    ModelCopy copy(r.model);
    copy.set(r.pointer, r.value);
    expect_arch_refused(copy, "", r.text);
  }
}

TEST(Arch, RefusesAnActiveWindowAndToleratesAnInactiveOne) {
  ModelCopy copy("qwen2");
  copy.erase("layer_types");
  copy.set("/sliding_window", 4096);
  EXPECT_NO_THROW(read_arch(copy.path()));  // use_sliding_window is false
  copy.set("/use_sliding_window", true);
  EXPECT_NO_THROW(read_arch(copy.path()));  // from layer 28 on, and there are three
  copy.set("/max_window_layers", 2);
  expect_arch_refused(copy, "/sliding_window", "4096");
}

TEST(Arch, MissingAndBrokenConfigsAreNamed) {
  const TempFolder empty;
  EXPECT_NE(std::string(refusal([&] { read_arch(empty.path()); }).what()).find("config.json"),
            std::string::npos);
  ModelCopy copy("qwen2");
  copy.erase("num_hidden_layers");
  expect_arch_refused(copy, "/num_hidden_layers", "config.json");
  write_text(copy / "config.json", "{\"model_type\": ");
  EXPECT_EQ(refusal([&] { read_arch(copy.path()); }).kind(), core::ErrorKind::kData);
  write_text(copy / "config.json", "[]");
  EXPECT_EQ(refusal([&] { read_arch(copy.path()); }).kind(), core::ErrorKind::kData);
}

TEST(Weights, MissingAndUnexpectedNamesAreListedTogether) {
  ModelCopy copy("qwen2");
  copy.edit_weights([](NamedTensors& tensors) {
    for (auto& [name, tensor] : tensors) {
      if (name == "model.layers.1.self_attn.q_proj.bias") name = "model.layers.1.self_attn.q_proj.offset";
      if (name == "model.norm.weight") name = "transformer.norm.weight";
    }
  });
  for (const char* name : {"model.layers.1.self_attn.q_proj.bias", "model.layers.1.self_attn.q_proj.offset",
                           "model.norm.weight", "transformer.norm.weight"})
    expect_weights_refused(copy, name);
}

TEST(Weights, WrongShapesTypesAndValuesAreNamed) {
  ModelCopy shape("qwen2");
  shape.set("/vocab_size", 65);
  expect_weights_refused(shape, "[65, 32]");
  ModelCopy type("qwen2");
  type.edit_weights([](NamedTensors& tensors) {
    for (auto& [name, tensor] : tensors)
      if (name == "model.norm.weight") tensor = tensor.to(at::kLong);
  });
  expect_weights_refused(type, "model.norm.weight");
  ModelCopy nan("qwen2");
  nan.edit_weights([](NamedTensors& tensors) {
    for (auto& [name, tensor] : tensors)
      if (name == "model.layers.2.mlp.up_proj.weight") tensor[3][3] = NAN;
  });
  expect_weights_refused(nan, "model.layers.2.mlp.up_proj.weight");
}

TEST(Weights, ARedundantTiedHeadMustEqualTheEmbedding) {
  ModelCopy copy("qwen2");
  copy.edit_weights([](NamedTensors& tensors) {
    for (const auto& [name, tensor] : NamedTensors(tensors))
      if (name == "model.embed_tokens.weight") tensors.emplace_back("lm_head.weight", tensor.clone());
    tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({4}));
  });
  EXPECT_NO_THROW(load_decoder(copy.path(), {}));
  copy.edit_weights([](NamedTensors& tensors) {
    for (auto& [name, tensor] : tensors)
      if (name == "lm_head.weight") tensor[0][0] += 1;
  });
  expect_weights_refused(copy, "lm_head.weight");
}

TEST(Weights, ShardsMustBeThereAndFitTheIndex) {
  ModelCopy missing("llama3_sharded");
  fs::remove(missing / "model-00002-of-00003.safetensors");
  expect_weights_refused(missing, "model-00002-of-00003.safetensors");

  ModelCopy none("llama3_sharded");
  fs::remove(none / "model.safetensors.index.json");
  expect_weights_refused(none, "model.safetensors.index.json");

  ModelCopy wrong("llama3_sharded");
  const std::string index = wrong / "model.safetensors.index.json";
  const Json original = Json::parse(read_text(index));
  Json json = original;
  json["weight_map"]["model.norm.weight"] = "model-00001-of-00003.safetensors";
  write_text(index, json.dump());
  expect_weights_refused(wrong, "model.norm.weight");
  json["weight_map"].erase("model.norm.weight");
  write_text(index, json.dump());
  expect_weights_refused(wrong, "model.norm.weight");
  json = original;
  json["weight_map"]["model.norm.weight"] = "../model-00001-of-00003.safetensors";
  write_text(index, json.dump());
  expect_weights_refused(wrong, "same folder");

  ModelCopy cut("llama3_sharded");
  const std::string shard = cut / "model-00003-of-00003.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 1);
  expect_weights_refused(cut, "model-00003-of-00003.safetensors");
}

TEST(SaveDecoder, KeepsTheFieldsOfTheSourceAndUpdatesTypeAndClass) {
  ModelCopy copy("qwen2");
  copy.set("/custom_note", "kept");
  const auto decoder = load_decoder(copy.path(), {});
  const TempFolder out;
  save_decoder(out.path(), *decoder, at::kBFloat16);
  const Json json = Json::parse(read_text(out / "config.json"));
  EXPECT_EQ(json["custom_note"], "kept");
  EXPECT_EQ(json["torch_dtype"], "bfloat16");  // the spelling of the source
  EXPECT_FALSE(json.contains("dtype"));
  EXPECT_EQ(json["architectures"], Json::array({"Qwen2ForCausalLM"}));
  EXPECT_EQ(json["max_window_layers"], 28);
  const SafetensorsFile file(out / "model.safetensors");
  EXPECT_EQ(file.find("lm_head.weight"), nullptr);
  EXPECT_EQ(file.find("model.norm.weight")->dtype, at::kBFloat16);
}

TEST(SaveDecoder, WritesMastersInsteadOfRoundedWeights) {
  const auto decoder = load_decoder(fixture("model/qwen3"), {at::kBFloat16, at::kCPU});
  NamedTensors masters;
  for (const auto& [name, tensor] : decoder->parameters())
    if (name == "layers.0.qkv.weight") masters.emplace_back(name, tensor.to(at::kFloat) + 1e-5);
  ASSERT_EQ(masters.size(), 1u);
  const TempFolder out;
  save_decoder(out.path(), *decoder, at::kFloat, masters);
  const SafetensorsFile file(out / "model.safetensors");
  EXPECT_TRUE(
      at::equal(file.load("model.layers.0.self_attn.q_proj.weight"), masters[0].second.narrow(0, 0, 48)));
  EXPECT_TRUE(
      at::equal(file.load("model.layers.0.self_attn.v_proj.weight"), masters[0].second.narrow(0, 72, 24)));
  masters[0].first = "layers.9.qkv.weight";
  EXPECT_THROW(save_decoder(out.path(), *decoder, at::kFloat, masters), core::Error);
}

// Counts tensors, which is all that loading allocates in this size; it reads files chunk by chunk into one.
TEST(LoadDecoder, PeaksAtNoMoreThanAFifthAboveTheWeights) {
  Arch arch = read_arch(fixture("model/llama3_sharded"));
  arch.vocab_size = 20000;
  arch.hidden_size = 512;
  arch.intermediate_size = 1024;
  const int64_t weight_bytes = arch.num_parameters() * static_cast<int64_t>(sizeof(float));
  ASSERT_GT(weight_bytes, 80 << 20);
  const TempFolder folder;
  save_decoder(folder.path(), *make_decoder(arch, {}, 1), at::kBFloat16);
  const int64_t peak = bench::peak_tensor_bytes([&] { load_decoder(folder.path(), {}); });
  EXPECT_GE(peak, weight_bytes);
  EXPECT_LT(static_cast<double>(peak), 1.2 * static_cast<double>(weight_bytes));
}

TEST(MakeDecoder, IsAFunctionOfTheSeedAndRoundTrips) {
  Arch arch = read_arch(fixture("model/llama3_tied"));
  arch.eos_token_ids = {3, 4};
  const auto a = make_decoder(arch, {}, 7), b = make_decoder(arch, {}, 7), c = make_decoder(arch, {}, 8);
  const Batch batch = pack({{1, 5, 9, 2}}, at::kCPU);
  EXPECT_TRUE(at::equal(a->hidden(batch), b->hidden(batch)));
  EXPECT_FALSE(at::equal(a->hidden(batch), c->hidden(batch)));
  for (const auto& [name, tensor] : a->export_tensors()) {
    if (tensor.dim() != 2) continue;
    EXPECT_NEAR(tensor.std().item<double>(), 0.02, 0.003) << name;
    EXPECT_NEAR(tensor.mean().item<double>(), 0.0, 0.003) << name;
  }
  const TempFolder out;
  save_decoder(out.path(), *a, at::kFloat);
  const auto again = load_decoder(out.path(), {});
  EXPECT_EQ(again->arch().eos_token_ids, arch.eos_token_ids);
  EXPECT_EQ(again->arch().rope.type, RopeType::kLlama3);
  EXPECT_TRUE(at::equal(a->hidden(batch), again->hidden(batch)));
}

TEST(CloneDecoder, IsIndependent) {
  const auto a = load_decoder(fixture("model/qwen2"), {});
  const Batch batch = pack({{1, 5, 9, 2}}, at::kCPU);
  const at::Tensor before = a->hidden(batch);
  const auto b = clone_decoder(*a);
  for (auto& [name, tensor] : a->parameters()) const_cast<at::Tensor&>(tensor).mul_(2);
  EXPECT_TRUE(at::equal(b->hidden(batch), before));
  EXPECT_FALSE(at::equal(a->hidden(batch), before));
}

TEST(Critic, ValuesMatchTransformersTokenClassification) {
  const std::string folder = fixture("model/llama_critic");
  const SafetensorsFile expected(folder + "/expected.safetensors");
  const at::Tensor tokens = expected.load("tokens"), values = expected.load("values");
  const Critic critic = load_critic(folder, {});
  EXPECT_TRUE(critic.head_found);
  std::vector<std::vector<int64_t>> rows;
  for (int64_t i = 0; i < tokens.size(0); ++i)
    rows.emplace_back(tokens[i].const_data_ptr<int64_t>(),
                      tokens[i].const_data_ptr<int64_t>() + tokens.size(1));
  const at::Tensor got = critic.head(critic.trunk->hidden(pack(rows, at::kCPU)));
  EXPECT_LT((got.view(values.sizes()) - values).abs().max().item<double>(), 2e-4);
}

TEST(Critic, ALanguageModelGivesAZeroHeadAndRoundTrips) {
  for (const char* name : {"qwen3", "llama3_tied"}) {
    Critic critic = load_critic(fixture(std::string("model/") + name), {});
    EXPECT_FALSE(critic.head_found);
    const Batch batch = pack({{1, 5, 9, 2}}, at::kCPU);
    EXPECT_EQ(critic.head(critic.trunk->hidden(batch)).abs().max().item<double>(), 0.0);
    for (const auto& [parameter, tensor] : critic.trunk->parameters()) EXPECT_NE(parameter, "head.weight");

    critic.head.weight.fill_(0.5);
    const TempFolder out;
    const at::Tensor bias = at::full({1}, 0.25);
    save_critic(out.path(), *critic.trunk, critic.head, at::kFloat, {{"score.bias", bias}});
    const Critic again = load_critic(out.path(), {});
    EXPECT_TRUE(again.head_found);
    EXPECT_TRUE(at::equal(again.head.weight, critic.head.weight));
    EXPECT_TRUE(at::equal(again.head.bias, bias));
    EXPECT_TRUE(at::equal(again.trunk->hidden(batch), critic.trunk->hidden(batch)));
    const Json json = Json::parse(read_text(out / "config.json"));
    EXPECT_EQ(json["id2label"].size(), 1u);
    // A critic is not a language model, and says so.
    if (std::string(name) == "qwen3") {
      EXPECT_THROW(load_decoder(out.path(), {}), core::Error);
    }
  }
}

TEST(Tap, DefaultLayersAreThoseOfTheMiddleThird) {
  Arch arch;
  const auto layers = [&](int64_t n) {
    arch.num_layers = n;
    return default_tap_layers(arch);
  };
  EXPECT_EQ(layers(30), (std::vector<int64_t>{10, 13, 15, 18, 20}));  // a 10, b 20: 10 + (10 i + 2) / 4
  EXPECT_EQ(layers(24), (std::vector<int64_t>{8, 10, 12, 14, 16}));
  EXPECT_EQ(layers(3), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(layers(1), (std::vector<int64_t>{0}));
}

}  // namespace
}  // namespace pan::model
