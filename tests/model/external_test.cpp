// A real model against transformers: PAN_TEST_MODEL names a Hugging Face folder, PAN_TEST_PYTHON a Python
// with torch and transformers (default python3). The tiny models are written and read back by transformers as
// well.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "model/decoder.h"
#include "model/lora.h"
#include "model/safetensors.h"
#include "model/value_model.h"
#include "support/support.h"

namespace pan::model {
namespace {

using pan::testing::TempFolder;

int run_python(const std::string& arguments) {
  const char* python = std::getenv("PAN_TEST_PYTHON");
  const std::string command = std::string(python ? python : "python3") + " " +
                              pan::testing::source_path("tests/model/transformers_check.py") + " " +
                              arguments;
  return std::system(command.c_str());
}

bool has_packages(const std::string& names) {
  const char* python = std::getenv("PAN_TEST_PYTHON");
  const std::string check =
      std::string(python ? python : "python3") + " -c 'import " + names + "' 2>/dev/null";
  return std::system(check.c_str()) == 0;
}

bool has_transformers() {
  static const bool found = has_packages("transformers, safetensors");
  return found;
}

Batch batch_of(const at::Tensor& tokens) {
  std::vector<std::vector<int64_t>> rows;
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    const int64_t* row = tokens.const_data_ptr<int64_t>() + i * tokens.size(1);
    rows.emplace_back(row, row + tokens.size(1));
  }
  return pack(rows, at::kCPU);
}

at::Tensor logits_of(const Decoder& decoder, const at::Tensor& tokens) {
  c10::NoGradGuard no_grad;
  return output_logits(decoder, decoder.hidden(batch_of(tokens))).view({tokens.size(0), tokens.size(1), -1});
}

void expect_saved_models_load(const std::string& folder, const at::Tensor& tokens) {
  c10::NoGradGuard no_grad;
  const TempFolder policy, critic_folder, work;
  const auto decoder = load_decoder(folder, {});
  save_decoder(policy.path(), *decoder, at::kFloat);
  write_safetensors(work / "logits.safetensors",
                    {{"tokens", tokens}, {"logits", logits_of(*decoder, tokens)}});
  EXPECT_EQ(run_python("policy " + policy.path() + " " + work / "logits.safetensors"), 0);

  Critic critic = load_critic(folder, {});
  critic.head.weight.copy_(at::arange(critic.trunk->arch().hidden_size).mul(0.7).sin().mul(0.1).unsqueeze(0));
  critic.head.bias.fill_(0.5);
  save_critic(critic_folder.path(), *critic.trunk, critic.head, at::kFloat);
  const at::Tensor values = critic.head(critic.trunk->hidden(batch_of(tokens))).view(tokens.sizes());
  write_safetensors(work / "values.safetensors", {{"tokens", tokens}, {"values", values}});
  EXPECT_EQ(run_python("critic " + critic_folder.path() + " " + work / "values.safetensors"), 0);
}

TEST(External, RealModelMatchesTransformers) {
  const char* model = std::getenv("PAN_TEST_MODEL");
  if (model == nullptr) GTEST_SKIP() << "PAN_TEST_MODEL is not set";
  if (!has_transformers()) GTEST_SKIP() << "no Python with transformers (PAN_TEST_PYTHON)";
  const TempFolder work;
  ASSERT_EQ(run_python("logits " + std::string(model) + " " + work / "f32.safetensors"), 0);
  const SafetensorsFile expected(work / "f32.safetensors");
  const at::Tensor tokens = expected.load("tokens"), logits = expected.load("logits");
  const double difference = (logits_of(*load_decoder(model, {}), tokens) - logits).abs().max().item<double>();
  std::printf("float32: largest difference %.3g of logits up to %.3g\n", difference,
              logits.abs().max().item<double>());
  EXPECT_LT(difference, 1e-3);

  // bfloat16: no further from float32 than twice transformers' own bfloat16.
  ASSERT_EQ(run_python("logits " + std::string(model) + " " + work / "bf16.safetensors bfloat16"), 0);
  const at::Tensor theirs = SafetensorsFile(work / "bf16.safetensors").load("logits");
  const at::Tensor ours = logits_of(*load_decoder(model, {at::kBFloat16, at::kCPU}), tokens);
  const auto distance = [&](const at::Tensor& x) {
    return (x - logits).square().mean().sqrt().item<double>();
  };
  std::printf("bfloat16: root mean square distance from float32 %.3g, transformers' %.3g\n", distance(ours),
              distance(theirs));
  EXPECT_LT(distance(ours), 2 * distance(theirs));
  expect_saved_models_load(model, tokens);
}

TEST(External, SavedTinyModelsLoadInTransformers) {
  if (!has_transformers()) GTEST_SKIP() << "no Python with transformers (PAN_TEST_PYTHON)";
  for (const char* name : {"llama3_tied", "llama_biases", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    const std::string folder = pan::testing::fixture(std::string("model/") + name);
    expect_saved_models_load(folder, SafetensorsFile(folder + "/expected.safetensors").load("tokens"));
  }
}

TEST(External, FreshModelsLoadInTransformers) {
  if (!has_transformers()) GTEST_SKIP() << "no Python with transformers (PAN_TEST_PYTHON)";
  c10::NoGradGuard no_grad;
  for (const char* name : {"llama3_tied", "llama_biases", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    const auto decoder = make_decoder(read_arch(pan::testing::fixture(std::string("model/") + name)), {}, 3);
    for (const auto& [parameter, tensor] : decoder->parameters()) const_cast<at::Tensor&>(tensor).mul_(5);
    const TempFolder folder, work;
    save_decoder(folder.path(), *decoder, at::kFloat);
    const at::Tensor tokens = at::arange(20).view({2, 10});
    write_safetensors(work / "logits.safetensors",
                      {{"tokens", tokens}, {"logits", logits_of(*decoder, tokens)}});
    EXPECT_EQ(run_python("policy " + folder.path() + " " + work / "logits.safetensors"), 0);
  }
}

TEST(External, SavedAdaptersLoadInPeft) {
  if (!has_transformers() || !has_packages("peft"))
    GTEST_SKIP() << "no Python with transformers and peft (PAN_TEST_PYTHON)";
  c10::NoGradGuard no_grad;
  for (const char* name : {"llama3_tied", "llama_biases", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    const std::string folder = pan::testing::fixture(std::string("model/") + name);
    const at::Tensor tokens = SafetensorsFile(folder + "/expected.safetensors").load("tokens");
    const auto base = load_decoder(folder, {});
    const auto adapted = with_adapters(*base, {.rank = 4, .alpha = 6}, 1);
    double phase = 0;
    for (const auto& [parameter, tensor] : adapted->parameters())
      at::Tensor(tensor).copy_(
          at::arange(tensor.numel()).add(phase += 0.3).mul(1.7).sin().mul(0.2).view(tensor.sizes()));
    const TempFolder work, policy, merged, critic;
    const at::Tensor logits = logits_of(*adapted, tokens);
    EXPECT_GT((logits - logits_of(*base, tokens)).abs().max().item<double>(), 0.1);
    write_safetensors(work / "logits", {{"tokens", tokens}, {"logits", logits}});
    save_adapter(policy.path(), *adapted, folder);
    EXPECT_EQ(run_python("adapter " + folder + " " + work / "logits" + " " + policy.path()), 0);
    save_decoder(merged.path(), *adapted, at::kFloat);
    EXPECT_EQ(run_python("policy " + merged.path() + " " + work / "logits"), 0);

    const at::Tensor weight = at::arange(base->arch().hidden_size).mul(0.7).sin().mul(0.1).unsqueeze(0),
                     bias = at::full({1}, 0.5);
    const at::Tensor values =
        at::linear(adapted->hidden(batch_of(tokens)), weight, bias).view(tokens.sizes());
    write_safetensors(work / "values", {{"tokens", tokens}, {"values", values}});
    save_adapter(critic.path(), *adapted, folder, {}, {{"score.weight", weight}, {"score.bias", bias}});
    EXPECT_EQ(run_python("critic_adapter " + folder + " " + work / "values" + " " + critic.path()), 0);
  }
}

}  // namespace
}  // namespace pan::model
