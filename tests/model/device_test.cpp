// The decoder on every device: against transformers' values, against itself step by step, saved and read
// back.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <map>

#include "model/decoder.h"
#include "model/safetensors.h"
#include "support/device.h"
#include "support/support.h"

namespace pan::model {
namespace {

using pan::testing::fixture;

const char* const kFolders[] = {"llama3_tied", "llama_biases", "qwen2", "qwen3"};

std::map<std::string, at::Tensor> expected_of(const std::string& folder) {
  std::map<std::string, at::Tensor> tensors;
  for (auto& [name, tensor] : read_safetensors(folder + "/expected.safetensors")) tensors[name] = tensor;
  return tensors;
}

std::vector<std::vector<int64_t>> rows_of(const at::Tensor& tokens) {
  std::vector<std::vector<int64_t>> rows;
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    const int64_t* data = tokens.const_data_ptr<int64_t>() + i * tokens.size(1);
    rows.emplace_back(data, data + tokens.size(1));
  }
  return rows;
}

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.detach().cpu().to(at::kDouble) - b.detach().cpu().to(at::kDouble)).abs().max().item<double>();
}

using DecoderOnDevice = pan::testing::DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, DecoderOnDevice, pan::testing::devices());

TEST_P(DecoderOnDevice, LogitsMatchTransformers) {
  for (const char* name : kFolders) {
    SCOPED_TRACE(name);
    const std::string folder = fixture(std::string("model/") + name);
    auto expected = expected_of(folder);
    const auto decoder = load_decoder(folder, {.device = device()});
    const at::Tensor hidden = decoder->hidden(pack(rows_of(expected["tokens"]), device()));
    EXPECT_EQ(hidden.device().type(), device().type());
    const at::Tensor logits = output_logits(*decoder, hidden).view(expected["logits"].sizes());
    EXPECT_LT(max_difference(logits, expected["logits"]), 2e-4);
  }
}

TEST_P(DecoderOnDevice, GradientsMatchTransformers) {
  const std::string folder = fixture("model/qwen3");
  auto expected = expected_of(folder);
  const auto decoder = load_decoder(folder, {.device = device()});
  NamedTensors parameters = decoder->parameters();
  for (auto& [name, parameter] : parameters) parameter.set_requires_grad(true);
  const at::Tensor tokens = expected["tokens"];
  const int64_t rows = tokens.size(0), last = tokens.size(1) - 1;
  const at::Tensor logits =
      at::linear(decoder->hidden(pack(rows_of(tokens), device())), decoder->output_weight());
  const at::Tensor by_row = logits.view({rows, last + 1, -1});
  const at::Tensor loss = at::cross_entropy_loss(by_row.narrow(1, 0, last).reshape({rows * last, -1}),
                                                 tokens.narrow(1, 1, last).reshape({-1}).to(device()));
  EXPECT_NEAR(loss.item<double>(), expected["loss"].item<double>(), 1e-4);
  loss.backward();
  c10::NoGradGuard no_grad;
  for (auto& [name, parameter] : parameters) parameter.copy_(parameter.grad());
  for (const auto& [name, gradient] : decoder->export_tensors()) {
    const double norm = expected["gradient_norm." + name].item<double>();
    EXPECT_NEAR(gradient.norm().item<double>(), norm, 1e-4 * norm + 1e-6) << name;
    const at::Tensor slice = expected["gradient." + name];
    EXPECT_LT(max_difference(gradient.flatten().narrow(0, 0, slice.size(0)), slice), 1e-4 * norm + 1e-6)
        << name;
  }
}

TEST_P(DecoderOnDevice, CacheStepsEqualTheFullForward) {
  for (const char* name : kFolders) {
    SCOPED_TRACE(name);
    const std::string folder = fixture(std::string("model/") + name);
    auto expected = expected_of(folder);
    const auto decoder = load_decoder(folder, {.device = device()});
    const auto rows = rows_of(expected["tokens"]);
    const int64_t length = expected["tokens"].size(1);
    const at::Tensor full = decoder->hidden(pack(rows, device())).view({2, length, -1});
    KvCache cache(decoder->arch(), 3, length, at::kFloat, device());
    const at::Tensor read = decoder->prefill(
        pack({{rows[0].begin(), rows[0].begin() + 6}, {rows[1].begin(), rows[1].begin() + 9}}, device()),
        cache, {2, 0});
    EXPECT_LT(max_difference(read[1], full[1][8]), 1e-4);
    for (int64_t step = 0; step < length - 9; ++step) {
      const at::Tensor tokens = at::tensor(std::vector<int64_t>{rows[0][static_cast<size_t>(6 + step)],
                                                                rows[1][static_cast<size_t>(9 + step)]})
                                    .to(device());
      const at::Tensor hidden = decoder->decode(tokens, cache, {2, 0});
      EXPECT_LT(max_difference(hidden[0], full[0][6 + step]), 1e-4) << step;
      EXPECT_LT(max_difference(hidden[1], full[1][9 + step]), 1e-4) << step;
    }
  }
}

TEST_P(DecoderOnDevice, Bfloat16StaysNearFloat32) {
  const std::string folder = fixture("model/llama3_tied");
  auto expected = expected_of(folder);
  const auto decoder = load_decoder(folder, {.dtype = at::kBFloat16, .device = device()});
  const at::Tensor hidden = decoder->hidden(pack(rows_of(expected["tokens"]), device()));
  const at::Tensor logits = output_logits(*decoder, hidden).view(expected["logits"].sizes());
  // Three decimal digits through a few layers: the norm of the error, single logits may be further off.
  const double error = (logits.cpu() - expected["logits"]).norm().item<double>();
  EXPECT_LT(error, 0.03 * expected["logits"].norm().item<double>());
}

TEST_P(DecoderOnDevice, SavedAndReadBackBitForBit) {
  const auto decoder = load_decoder(fixture("model/qwen2"), {.device = device()});
  const pan::testing::TempFolder out;
  save_decoder(out.path(), *decoder, at::kFloat);
  const auto again = load_decoder(out.path(), {});
  const NamedTensors a = decoder->parameters(), b = again->parameters();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i].second.cpu(), b[i].second)) << a[i].first;
}

}  // namespace
}  // namespace pan::model
