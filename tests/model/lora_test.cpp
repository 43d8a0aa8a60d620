// Low-rank adapters against what PEFT computed (tests/fixtures/model/make_lora_fixture.py).
#include "model/lora.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "core/error.h"
#include "model/safetensors.h"
#include "support/support.h"

namespace pan::model {
namespace {

using pan::testing::fixture;
using pan::testing::read_text;
using pan::testing::TempFolder;
using pan::testing::write_text;

const LoraConfig kPeft = {
    .rank = 4, .alpha = 6, .targets = {"q_proj", "v_proj", "o_proj", "up_proj", "down_proj"}, .path = {}};

std::map<std::string, at::Tensor> by_name(const NamedTensors& tensors) {
  return {tensors.begin(), tensors.end()};
}

Batch batch_of(const at::Tensor& tokens) {
  std::vector<std::vector<int64_t>> rows;
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    const int64_t* row = tokens.const_data_ptr<int64_t>() + i * tokens.size(1);
    rows.emplace_back(row, row + tokens.size(1));
  }
  return pack(rows, at::kCPU);
}

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

void randomize_adapters(const Decoder& decoder) {
  double x = 0.1;
  for (auto [name, tensor] : decoder.parameters()) {
    at::Tensor values = at::empty(tensor.sizes(), at::kFloat);
    float* out = values.mutable_data_ptr<float>();
    for (int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(0.2 * std::sin(x += 1.7));
    tensor.copy_(values);
  }
}

struct Peft {
  std::map<std::string, at::Tensor> expected =
      by_name(read_safetensors(fixture("model/lora") + "/expected.safetensors"));
  std::unique_ptr<Decoder> base = load_decoder(fixture("model/qwen2"), {});
  std::unique_ptr<Decoder> adapted;
  Peft() {
    LoraConfig config = kPeft;
    config.path = fixture("model/lora");
    adapted = with_adapters(*base, config, 1);
  }
};

TEST(Lora, AdapterOfPeftGivesItsLogits) {
  Peft peft;
  const at::Tensor tokens = peft.expected["tokens"], logits = peft.expected["logits"];
  const auto logits_of = [&](const Decoder& decoder) {
    return output_logits(decoder, decoder.hidden(batch_of(tokens))).view(logits.sizes());
  };
  EXPECT_LT(max_difference(logits_of(*peft.adapted), logits), 2e-4);
  EXPECT_GT(max_difference(logits_of(*peft.base), logits), 0.1);
}

TEST(Lora, GradientsAreThoseOfPeftAndTheBaseHasNone) {
  Peft peft;
  for (const auto& [name, tensor] : peft.adapted->parameters()) tensor.set_requires_grad(true);
  const at::Tensor tokens = peft.expected["tokens"];
  const int64_t rows = tokens.size(0), last = tokens.size(1) - 1;
  const at::Tensor logits = at::linear(peft.adapted->hidden(batch_of(tokens)), peft.adapted->output_weight())
                                .view({rows, last + 1, -1});
  at::cross_entropy_loss(logits.narrow(1, 0, last).reshape({rows * last, -1}),
                         tokens.narrow(1, 1, last).reshape({-1}))
      .backward();
  size_t compared = 0;
  for (const auto& [name, tensor] : peft.adapted->parameters()) {
    const std::string peft_name = "gradient.base_model.model.model." + name.substr(0, name.rfind('.')) +
                                  (name.back() == 'a' ? ".lora_A.weight" : ".lora_B.weight");
    ASSERT_EQ(peft.expected.count(peft_name), 1u) << peft_name;
    const at::Tensor expected = peft.expected[peft_name];
    EXPECT_LT(max_difference(tensor.grad().flatten().narrow(0, 0, expected.size(0)), expected),
              1e-5 + 1e-4 * expected.abs().max().item<double>())
        << name;
    ++compared;
  }
  EXPECT_EQ(compared, 3u * 5u * 2u);
  for (const auto& [name, tensor] : peft.base->parameters()) EXPECT_FALSE(tensor.grad().defined()) << name;
}

TEST(Lora, MergedWeightsAreThoseOfPeftAndGiveTheSameLogits) {
  Peft peft;
  size_t compared = 0;
  for (const auto& [name, tensor] : peft.adapted->export_tensors()) {
    const auto expected = peft.expected.find("merged." + name);
    if (expected == peft.expected.end()) continue;
    EXPECT_LT(max_difference(tensor.flatten().narrow(0, 0, 64), expected->second), 1e-6) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 3u * 7u);
  const TempFolder out;
  save_decoder(out.path(), *peft.adapted, at::kFloat);
  const auto merged = load_decoder(out.path(), {});
  const Batch batch = batch_of(peft.expected["tokens"]);
  const c10::NoGradGuard no_grad;
  EXPECT_LT(max_difference(output_logits(*merged, merged->hidden(batch)),
                           output_logits(*peft.adapted, peft.adapted->hidden(batch))),
            1e-4);
}

TEST(Lora, FreshAdaptersChangeNothing) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const auto base = load_decoder(fixture("model/qwen3"), {.dtype = type});
    const auto adapted = with_adapters(*base, {.rank = 8}, 1);
    const Batch batch = pack({{1, 5, 9, 30, 2}, {7, 7, 8}}, at::kCPU);
    EXPECT_TRUE(at::equal(base->hidden(batch), adapted->hidden(batch)));
    EXPECT_EQ(adapted->output_weight().const_data_ptr(), base->output_weight().const_data_ptr());
    const auto before = base->export_tensors(), after = adapted->export_tensors({}, type);
    ASSERT_EQ(before.size(), after.size());
    for (size_t i = 0; i < before.size(); ++i)
      EXPECT_TRUE(at::equal(before[i].second, after[i].second)) << before[i].first;
  }
}

TEST(Lora, DecodingStepByStepEqualsTheFullPass) {
  const auto base = load_decoder(fixture("model/llama_biases"), {});
  const auto adapted = with_adapters(*base, {.rank = 3, .alpha = 5}, 1);
  const c10::NoGradGuard no_grad;
  randomize_adapters(*adapted);
  const std::vector<int64_t> tokens = {1, 5, 9, 30, 2, 11};
  const at::Tensor whole = adapted->hidden(pack({tokens}, at::kCPU));
  EXPECT_GT(max_difference(whole, base->hidden(pack({tokens}, at::kCPU))), 0.1);
  KvCache cache(adapted->arch(), 1, 16, at::kFloat, at::kCPU);
  at::Tensor last = adapted->prefill(pack({{1, 5, 9}}, at::kCPU), cache, {0});
  EXPECT_LT(max_difference(last, whole.narrow(0, 2, 1)), 1e-5);
  for (size_t i = 3; i < tokens.size(); ++i) {
    last = adapted->decode(at::tensor({tokens[i]}, at::kLong), cache, {0});
    EXPECT_LT(max_difference(last, whole.narrow(0, static_cast<int64_t>(i), 1)), 1e-5);
  }
}

TEST(Lora, RecomputedBlocksGiveTheSameGradients) {
  std::vector<std::vector<at::Tensor>> gradients;
  for (const bool recompute : {false, true}) {
    const auto base = load_decoder(fixture("model/qwen2"), {.gradient_checkpointing = recompute});
    const auto adapted = with_adapters(*base, {.rank = 4}, 2);
    {
      const c10::NoGradGuard no_grad;
      randomize_adapters(*adapted);
    }
    for (const auto& [name, tensor] : adapted->parameters()) tensor.set_requires_grad(true);
    adapted->hidden(pack({{3, 1, 4, 1, 5}, {9, 2, 6}}, at::kCPU)).square().sum().backward();
    gradients.emplace_back();
    for (const auto& [name, tensor] : adapted->parameters()) gradients.back().push_back(tensor.grad());
  }
  ASSERT_EQ(gradients[0].size(), gradients[1].size());
  for (size_t i = 0; i < gradients[0].size(); ++i)
    EXPECT_TRUE(at::equal(gradients[0][i], gradients[1][i])) << i;
}

TEST(Lora, WrittenFolderIsWhatPeftWrites) {
  Peft peft;
  const TempFolder out;
  save_adapter(out.path(), *peft.adapted, "qwen2");
  const auto ours = by_name(read_safetensors(out / "adapter_model.safetensors")),
             theirs = by_name(read_safetensors(fixture("model/lora") + "/adapter_model.safetensors"));
  ASSERT_EQ(ours.size(), theirs.size());
  for (const auto& [name, tensor] : theirs) {
    ASSERT_EQ(ours.count(name), 1u) << name;
    EXPECT_TRUE(at::equal(ours.at(name), tensor)) << name;
  }
}

TEST(Lora, MastersReplaceRoundedValues) {
  const auto base = load_decoder(fixture("model/qwen2"), {.dtype = at::kBFloat16});
  const auto adapted = with_adapters(*base, {.rank = 2, .targets = {"o_proj"}}, 1);
  NamedTensors masters;
  for (const auto& [name, tensor] : adapted->parameters())
    masters.emplace_back(name, at::full(tensor.sizes(), 0.123456789f, at::kFloat));
  const TempFolder out;
  save_adapter(out.path(), *adapted, "qwen2", masters);
  for (const auto& [name, tensor] : read_safetensors(out / "adapter_model.safetensors"))
    EXPECT_TRUE(tensor.eq(0.123456789f).all().item<bool>()) << name;
  const auto merged = by_name(adapted->export_tensors(masters)), plain = by_name(base->export_tensors());
  const std::string name = "model.layers.1.self_attn.o_proj.weight";
  const double added = 16.0 / 2.0 * 2 * 0.123456789 * 0.123456789;
  EXPECT_LT(max_difference(merged.at(name), plain.at(name).to(at::kFloat) + added), 1e-6);
}

TEST(Lora, CountsItsParameters) {
  const auto base = load_decoder(fixture("model/llama3_tied"), {});
  for (const std::vector<std::string>& targets : {std::vector<std::string>{}, {"k_proj", "down_proj"}}) {
    const LoraConfig config{.rank = 5, .targets = targets};
    int64_t total = 0;
    const auto adapted = with_adapters(*base, config, 1);
    for (const auto& [name, tensor] : adapted->parameters()) total += tensor.numel();
    EXPECT_EQ(num_adapter_parameters(base->arch(), config), total);
  }
}

std::string refusal(const std::function<void()>& action, core::ErrorKind kind) {
  try {
    action();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

TEST(Lora, RefusesWhatDoesNotFit) {
  const auto base = load_decoder(fixture("model/qwen2"), {});
  EXPECT_NE(
      refusal([&] { with_adapters(*base, {.rank = 4, .targets = {"qproj"}}, 1); }, core::ErrorKind::kConfig)
          .find("Did you mean q_proj?"),
      std::string::npos);

  const TempFolder copy;
  const std::string config = read_text(fixture("model/lora") + "/adapter_config.json");
  write_text(copy / "adapter_model.safetensors",
             read_text(fixture("model/lora") + "/adapter_model.safetensors"));
  const auto refused = [&](const std::string& from, const std::string& to, const std::string& said,
                           LoraConfig lora) {
    std::string text = config;
    if (!from.empty()) {
      ASSERT_NE(text.find(from), std::string::npos) << from;
      text.replace(text.find(from), from.size(), to);
    }
    write_text(copy / "adapter_config.json", text);
    lora.path = copy.path();
    const std::string message = refusal([&] { with_adapters(*base, lora, 1); }, core::ErrorKind::kData);
    EXPECT_NE(message.find(said), std::string::npos) << message;
    EXPECT_NE(message.find(copy.path()), std::string::npos) << message;
  };
  LoraConfig other = kPeft;
  other.rank = 8;
  refused("", "", "another rank or alpha", other);
  other = kPeft;
  other.targets.pop_back();
  refused("", "", "other projections", other);
  refused("\"use_dora\": false", "\"use_dora\": true", "/use_dora", kPeft);
  refused("\"bias\": \"none\"", "\"bias\": \"all\"", "/bias", kPeft);
  refused("\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 8}", "/rank_pattern", kPeft);
  refused("\"peft_type\": \"LORA\"", "\"peft_type\": \"IA3\"", "not a LoRA", kPeft);
  // An adapter of another model: other shapes.
  const auto large = load_decoder(fixture("model/qwen3"), {});
  write_text(copy / "adapter_config.json", config);
  LoraConfig lora = kPeft;
  lora.path = copy.path();
  ASSERT_NE(large->arch().head_dim, base->arch().head_dim);
  EXPECT_NE(refusal([&] { with_adapters(*large, lora, 1); }, core::ErrorKind::kData).find("wrong shape"),
            std::string::npos);
  // Truncated weights.
  write_text(copy / "adapter_model.safetensors",
             read_text(fixture("model/lora") + "/adapter_model.safetensors").substr(0, 9000));
  refused("", "", "adapter_model.safetensors", kPeft);
}

}  // namespace
}  // namespace pan::model
