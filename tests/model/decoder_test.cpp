// Forward, gradients and cache against what transformers computed
// (tests/fixtures/model/make_model_fixtures.py).
#include "model/decoder.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <c10/core/GradMode.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "model/recompute.h"
#include "model/safetensors.h"
#include "support/support.h"
#include "support/tiny_decoder.h"

namespace pan::model {
namespace {

using pan::testing::fixture;

struct Case {
  const char* folder;
  bool has_gradients;
};
const Case kCases[] = {{"llama3_tied", true},   {"llama_biases", true}, {"qwen2", true},
                       {"qwen3", true},         {"llama_bf16", false},  {"qwen2_f16", false},
                       {"llama3_sharded", true}};

std::string folder_of(const Case& c) { return fixture(std::string("model/") + c.folder); }

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
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// Mean negative log-likelihood of the next tokens of two sequences of the same length.
at::Tensor next_token_loss(const Decoder& decoder, const at::Tensor& tokens) {
  const at::Tensor logits =
      at::linear(decoder.hidden(pack(rows_of(tokens), at::kCPU)), decoder.output_weight());
  const at::Tensor by_row = logits.view({tokens.size(0), tokens.size(1), -1});
  const int64_t rows = tokens.size(0), last = tokens.size(1) - 1;
  return at::cross_entropy_loss(by_row.narrow(1, 0, last).reshape({rows * last, -1}),
                                tokens.narrow(1, 1, last).reshape({-1}));
}

class Model : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, Model, ::testing::ValuesIn(kCases),
                         [](const auto& c) { return std::string(c.param.folder); });

TEST_P(Model, LogitsMatchTransformers) {
  const std::string folder = folder_of(GetParam());
  auto expected = expected_of(folder);
  const auto decoder = load_decoder(folder, {});
  const at::Tensor hidden = decoder->hidden(pack(rows_of(expected["tokens"]), at::kCPU));
  const at::Tensor logits = output_logits(*decoder, hidden).view(expected["logits"].sizes());
  EXPECT_GT(expected["logits"].abs().max().item<double>(), 1.0);
  EXPECT_LT(max_difference(logits, expected["logits"]), 2e-4);
}

TEST_P(Model, TapHandsOverRotatedQueriesAndKeysAndChangesNothing) {
  const std::string folder = folder_of(GetParam());
  auto expected = expected_of(folder);
  const auto decoder = load_decoder(folder, {});
  const Batch batch = pack(rows_of(expected["tokens"]), at::kCPU);
  std::vector<kernels::LayerQk> seen;
  AttentionTap tap;
  tap.layers = {1, 2};
  tap.on_layer = [&](const kernels::LayerQk& layer) { seen.push_back(layer); };
  for (auto& [name, parameter] : decoder->parameters()) parameter.set_requires_grad(true);
  const at::Tensor with_tap = decoder->hidden(batch, &tap), without = decoder->hidden(batch);
  EXPECT_TRUE(at::equal(with_tap, without));

  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].layer, 1);
  EXPECT_EQ(seen[1].layer, 2);
  EXPECT_FALSE(seen[0].q.requires_grad());
  const int64_t length = expected["q"].size(0);
  const at::Tensor q = seen[0].q.narrow(0, 0, length), k = seen[0].k.narrow(0, 0, length);
  EXPECT_LT(max_difference(q, expected["q"]), 1e-4);
  EXPECT_LT(max_difference(k, expected["k"]), 1e-4);

  // The attention map that the handed over tensors and scale imply is the eager map of that layer.
  const int64_t group = q.size(1) / k.size(1);
  const at::Tensor scores =
      at::matmul(q.transpose(0, 1), k.repeat_interleave(group, 1).permute({1, 2, 0})) * seen[0].scale;
  const at::Tensor hidden_keys = at::ones({length, length}, at::kBool).triu(1);
  EXPECT_LT(
      max_difference(at::softmax(scores.masked_fill(hidden_keys, -INFINITY), -1), expected["attention"]),
      1e-4);
}

TEST_P(Model, TapChangesNothingInBfloat16) {
  const std::string folder = folder_of(GetParam());
  const auto decoder = load_decoder(folder, {.dtype = at::kBFloat16});
  const Batch batch = pack(rows_of(expected_of(folder)["tokens"]), at::kCPU);
  int64_t layers = 0;
  const AttentionTap tap{{1, 2}, [&](const kernels::LayerQk& layer) {
                           EXPECT_EQ(layer.q.scalar_type(), at::kBFloat16);
                           kernels::row_stats(layer.q, layer.k, batch.cu_seqlens, {.scale = layer.scale});
                           ++layers;
                         }};
  EXPECT_TRUE(at::equal(decoder->hidden(batch, &tap), decoder->hidden(batch)));
  EXPECT_EQ(layers, 2);
}

TEST_P(Model, GradientsMatchTransformers) {
  if (!GetParam().has_gradients) return;  // half precision weights: transformers' gradients are not stored
  const std::string folder = folder_of(GetParam());
  auto expected = expected_of(folder);
  const auto decoder = load_decoder(folder, {});
  NamedTensors parameters = decoder->parameters();
  for (auto& [name, parameter] : parameters) parameter.set_requires_grad(true);
  const at::Tensor loss = next_token_loss(*decoder, expected["tokens"]);
  EXPECT_NEAR(loss.item<double>(), expected["loss"].item<double>(), 1e-4);
  loss.backward();

  // Gradients under Hugging Face names: put each into its parameter's place and look at the exported views.
  c10::NoGradGuard no_grad;
  for (auto& [name, parameter] : parameters) {
    ASSERT_TRUE(parameter.grad().defined()) << name;
    parameter.copy_(parameter.grad());
  }
  size_t compared = 0;
  for (const auto& [name, gradient] : decoder->export_tensors()) {
    ASSERT_EQ(expected.count("gradient." + name), 1u) << name;
    const double norm = expected["gradient_norm." + name].item<double>();
    EXPECT_NEAR(gradient.norm().item<double>(), norm, 1e-4 * norm + 1e-6) << name;
    const at::Tensor slice = expected["gradient." + name];
    EXPECT_LT(max_difference(gradient.flatten().narrow(0, 0, slice.size(0)), slice), 1e-4 * norm + 1e-6)
        << name;
    ++compared;
  }
  EXPECT_GT(compared, 20u);
}

TEST_P(Model, GradientsMatchFiniteDifferencesInFloat64) {
  const std::string folder = folder_of(GetParam());
  auto expected = expected_of(folder);
  const auto decoder = load_decoder(folder, {at::kDouble, at::kCPU});
  NamedTensors parameters = decoder->parameters();
  for (auto& [name, parameter] : parameters) parameter.set_requires_grad(true);
  next_token_loss(*decoder, expected["tokens"]).backward();
  c10::NoGradGuard no_grad;
  for (auto& [name, parameter] : parameters) {
    // The directional derivative along a fixed, dense direction.
    const at::Tensor direction =
        at::arange(parameter.numel(), at::kDouble).mul(0.7).add(0.3).sin().view(parameter.sizes());
    const double analytic = (parameter.grad() * direction).sum().item<double>();
    const double step = 3e-6;
    const auto loss_at = [&](double distance) {
      parameter.add_(direction, distance);
      const double loss = next_token_loss(*decoder, expected["tokens"]).item<double>();
      parameter.sub_(direction, distance);
      return loss;
    };
    const double numeric = (loss_at(step) - loss_at(-step)) / (2 * step);
    EXPECT_NEAR(analytic, numeric, 1e-6 * std::abs(numeric) + 1e-7) << name;
  }
}

TEST_P(Model, CacheStepsEqualTheFullForward) {
  const std::string folder = folder_of(GetParam());
  auto expected = expected_of(folder);
  const auto decoder = load_decoder(folder, {});
  const auto rows = rows_of(expected["tokens"]);
  const int64_t length = expected["tokens"].size(1);
  const at::Tensor full = decoder->hidden(pack(rows, at::kCPU)).view({2, length, -1});

  // Different prompt lengths, slots out of order, one slot unused; row 0 joins later than row 1.
  const std::vector<int64_t> prompts = {6, 9}, slots = {2, 0};
  KvCache cache(decoder->arch(), 3, length, at::kFloat, at::kCPU);
  const at::Tensor last = decoder->prefill(
      pack({{rows[0].begin(), rows[0].begin() + 6}, {rows[1].begin(), rows[1].begin() + 9}}, at::kCPU), cache,
      slots);
  for (int64_t i = 0; i < 2; ++i)
    EXPECT_LT(max_difference(last[i], full[i][prompts[static_cast<size_t>(i)] - 1]), 1e-4);
  for (int64_t step = 0; step < length - 9; ++step) {
    const at::Tensor tokens = at::tensor(
        std::vector<int64_t>{rows[0][static_cast<size_t>(6 + step)], rows[1][static_cast<size_t>(9 + step)]});
    const at::Tensor hidden = decoder->decode(tokens, cache, slots);
    EXPECT_EQ(cache.length(2), 7 + step);
    EXPECT_LT(max_difference(hidden[0], full[0][6 + step]), 1e-4) << step;
    EXPECT_LT(max_difference(hidden[1], full[1][9 + step]), 1e-4) << step;
  }
}

TEST_P(Model, PackingAndOrderChangeNothing) {
  const std::string folder = folder_of(GetParam());
  auto expected = expected_of(folder);
  const auto decoder = load_decoder(folder, {});
  const auto rows = rows_of(expected["tokens"]);
  const std::vector<int64_t> a = rows[0], b(rows[1].begin(), rows[1].begin() + 5), c = {7};
  const at::Tensor together = decoder->hidden(pack({b, c, a}, at::kCPU));
  EXPECT_LT(max_difference(together.narrow(0, 0, 5), decoder->hidden(pack({b}, at::kCPU))), 2e-5);
  EXPECT_LT(max_difference(together.narrow(0, 5, 1), decoder->hidden(pack({c}, at::kCPU))), 2e-5);
  EXPECT_LT(max_difference(together.narrow(0, 6, 17), decoder->hidden(pack({a}, at::kCPU))), 2e-5);
}

// Gradients of a fixed loss by name; those of parameters that take no part are left out.
std::map<std::string, at::Tensor> gradients_of(const Decoder& decoder, const Batch& batch,
                                               at::Tensor& hidden) {
  NamedTensors parameters = decoder.parameters();
  for (auto& [name, parameter] : parameters) {
    parameter.set_requires_grad(true);
    parameter.mutable_grad() = at::Tensor();
  }
  const at::Tensor result = decoder.hidden(batch);
  result.to(at::kFloat).square().sum().backward();
  hidden = result.detach();
  std::map<std::string, at::Tensor> gradients;
  for (const auto& [name, parameter] : parameters)
    if (parameter.grad().defined()) gradients[name] = parameter.grad().clone();
  return gradients;
}

TEST_P(Model, ScoringAndTrainingComputeTheSameBitsAndRepeatThem) {
  // The policy ratio of the first update is exactly 1 only if scoring and training compute the same bits.
  const std::string folder = folder_of(GetParam());
  auto expected = expected_of(folder);
  const Batch batch = pack(rows_of(expected["tokens"]), at::kCPU);
  const int threads = at::get_num_threads();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const int count : {1, 3}) {
      SCOPED_TRACE(std::string(c10::toString(type)) + ", threads " + std::to_string(count));
      at::set_num_threads(count);
      const auto decoder = load_decoder(folder, {type, at::kCPU});
      const at::Tensor scored = decoder->hidden(batch);
      EXPECT_FALSE(scored.requires_grad());
      at::Tensor first, second;
      const auto once = gradients_of(*decoder, batch, first), again = gradients_of(*decoder, batch, second);
      EXPECT_TRUE(at::equal(scored, first));
      EXPECT_TRUE(at::equal(first, second));
      EXPECT_EQ(once.size() + (decoder->arch().tied_embeddings ? 0 : 1), decoder->parameters().size());
      for (const auto& [name, gradient] : once) EXPECT_TRUE(at::equal(gradient, again.at(name))) << name;
    }
    at::set_num_threads(threads);
  }
}

TEST_P(Model, ThreadsChangeGradientsByRoundingOnly) {
  // The library's products may take another path for another number of threads; everything else is
  // independent of it.
  const std::string folder = folder_of(GetParam());
  auto expected = expected_of(folder);
  const Batch batch = pack(rows_of(expected["tokens"]), at::kCPU);
  const auto decoder = load_decoder(folder, {});
  const int threads = at::get_num_threads();
  at::Tensor hidden;
  at::set_num_threads(1);
  const auto one = gradients_of(*decoder, batch, hidden);
  at::set_num_threads(3);
  const auto three = gradients_of(*decoder, batch, hidden);
  at::set_num_threads(threads);
  for (const auto& [name, gradient] : one)
    EXPECT_LT(max_difference(gradient, three.at(name)), 1e-5 * gradient.abs().max().item<double>() + 1e-7)
        << name;
}

TEST_P(Model, Bfloat16StaysNearFloat32InForwardAndCache) {
  const std::string folder = folder_of(GetParam());
  auto expected = expected_of(folder);
  const auto decoder = load_decoder(folder, {at::kBFloat16, at::kCPU});
  const auto rows = rows_of(expected["tokens"]);
  const at::Tensor hidden = decoder->hidden(pack(rows, at::kCPU));
  const at::Tensor logits = output_logits(*decoder, hidden).view(expected["logits"].sizes());
  const auto relative = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).norm() / b.norm()).item<double>();
  };
  // Three layers with about ten roundings of 2^-9 each, and weights chosen to make attention sharp, so scores
  // magnify them.
  EXPECT_LT(relative(logits, expected["logits"]), 0.06);
  KvCache cache(decoder->arch(), 2, 20, at::kBFloat16, at::kCPU);
  const size_t prompt = rows[0].size() - 1;
  decoder->prefill(pack({{rows[0].begin(), rows[0].begin() + static_cast<int64_t>(prompt)}}, at::kCPU), cache,
                   {1});
  const at::Tensor last = decoder->decode(at::tensor(std::vector<int64_t>{rows[0].back()}), cache, {1});
  EXPECT_LT(relative(output_logits(*decoder, last)[0], expected["logits"][0][static_cast<int64_t>(prompt)]),
            0.05);
}

TEST_P(Model, ACopiedPrefixEqualsOneThatWasComputed) {
  const auto decoder = load_decoder(folder_of(GetParam()), {});
  KvCache cache(decoder->arch(), 3, 8, at::kFloat, at::kCPU);
  decoder->prefill(pack({{5, 6, 7, 8}}, at::kCPU), cache, {1});
  cache.copy_prefix(1, {0, 2}, 3);
  EXPECT_EQ(cache.length(0), 3);
  EXPECT_EQ(cache.length(1), 4);
  const at::Tensor copied = decoder->decode(at::tensor(std::vector<int64_t>{9, 9}), cache, {2, 0});
  const at::Tensor full = decoder->hidden(pack({{5, 6, 7, 9}}, at::kCPU));
  EXPECT_LT(max_difference(copied[0], full[3]), 1e-4);
  EXPECT_TRUE(at::equal(copied[0], copied[1]));
  EXPECT_THROW(cache.copy_prefix(0, {2}, 5), core::Error);
}

TEST_P(Model, RefusesASequenceLongerThanItsSlot) {
  const auto decoder = load_decoder(folder_of(GetParam()), {});
  KvCache cache(decoder->arch(), 1, 3, at::kFloat, at::kCPU);
  EXPECT_THROW(decoder->prefill(pack({{1, 2, 3, 4}}, at::kCPU), cache, {0}), core::Error);
  decoder->prefill(pack({{1, 2, 3}}, at::kCPU), cache, {0});
  EXPECT_THROW(decoder->decode(at::tensor(std::vector<int64_t>{4}), cache, {0}), core::Error);
  EXPECT_EQ(cache.length(0), 3);
}

TEST_P(Model, SavedFolderLoadsToTheSameBits) {
  const std::string folder = folder_of(GetParam());
  const auto decoder = load_decoder(folder, {});
  const pan::testing::TempFolder out;
  save_decoder(out.path(), *decoder, at::kFloat);
  const auto again = load_decoder(out.path(), {});
  const NamedTensors a = decoder->parameters(), b = again->parameters();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_TRUE(at::equal(a[i].second, b[i].second)) << a[i].first;
  }
}

TEST(GradientCheckpointing, GivesTheSameGradientsBitForBit) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.folder);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const auto plain = load_decoder(folder_of(c), {.dtype = dtype});
      const auto saving = load_decoder(folder_of(c), {.dtype = dtype, .gradient_checkpointing = true});
      const at::Tensor tokens = expected_of(folder_of(c)).at("tokens");
      std::vector<double> losses;
      for (const Decoder* decoder : {plain.get(), saving.get()}) {
        for (const auto& [name, tensor] : decoder->parameters()) tensor.set_requires_grad(true);
        const at::Tensor loss = next_token_loss(*decoder, tokens);
        loss.backward();
        losses.push_back(loss.item<double>());
        next_token_loss(*decoder, tokens).backward();  // adds to the first
      }
      EXPECT_EQ(losses[0], losses[1]);
      const auto expected = plain->parameters(), got = saving->parameters();
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_TRUE(got[i].second.grad().defined()) << got[i].first;
        EXPECT_TRUE(at::equal(got[i].second.grad(), expected[i].second.grad())) << got[i].first;
      }
    }
  }
}

TEST(GradientCheckpointing, LeavesFrozenParametersAndTapsAlone) {
  const auto plain = load_decoder(folder_of(kCases[0]), {});
  const auto saving = load_decoder(folder_of(kCases[0]), {.gradient_checkpointing = true});
  const at::Tensor tokens = expected_of(folder_of(kCases[0])).at("tokens");
  for (const Decoder* decoder : {plain.get(), saving.get()}) {
    for (const auto& [name, tensor] : decoder->parameters())  // the last block's down projection alone
      if (name == decoder->parameters()[decoder->parameters().size() - 2].first)
        tensor.set_requires_grad(true);
    next_token_loss(*decoder, tokens).backward();
  }
  const auto expected = plain->parameters(), got = saving->parameters();
  int with_gradient = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(got[i].second.grad().defined(), expected[i].second.grad().defined()) << got[i].first;
    if (!got[i].second.grad().defined()) continue;
    ++with_gradient;
    EXPECT_TRUE(at::equal(got[i].second.grad(), expected[i].second.grad()));
  }
  EXPECT_EQ(with_gradient, 1);
  const auto tapped = [&](const Decoder& decoder) {
    const c10::NoGradGuard no_grad;
    std::vector<at::Tensor> seen;
    AttentionTap tap;
    tap.layers = {0, 1};
    tap.on_layer = [&](const auto& qk) {
      seen.push_back(qk.q);
      seen.push_back(qk.k);
    };
    seen.push_back(decoder.hidden(pack(rows_of(tokens), at::kCPU), &tap));
    return seen;
  };
  const auto a = tapped(*plain), b = tapped(*saving);
  ASSERT_EQ(a.size(), 5u);
  ASSERT_EQ(b.size(), 5u);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i]));
}

// Bytes of tensors that are allocated and not freed yet.
struct LiveBytes : c10::MemoryReportingInfoBase {
  int64_t bytes = 0;
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override { bytes += size; }
  bool memoryProfilingEnabled() const override { return true; }
};

constexpr int64_t kTokens = 128, kWidth = 32;

std::unique_ptr<Decoder> small_decoder(int64_t num_layers, bool gradient_checkpointing) {
  Arch a = pan::testing::tiny_arch(40, kTokens);
  a.num_layers = num_layers;
  auto decoder = make_decoder(a, {.gradient_checkpointing = gradient_checkpointing}, 1);
  for (const auto& [name, tensor] : decoder->parameters()) tensor.set_requires_grad(true);
  return decoder;
}

at::Tensor hidden_of_one_text(const Decoder& decoder) {
  return decoder.hidden(pack({std::vector<int64_t>(kTokens, 7)}, at::kCPU));
}

// What a forward pass leaves behind for the backward pass.
int64_t bytes_kept(int64_t num_layers, bool gradient_checkpointing) {
  const auto decoder = small_decoder(num_layers, gradient_checkpointing);
  const auto live = std::make_shared<LiveBytes>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, live);
  const at::Tensor hidden = hidden_of_one_text(*decoder);
  return live->bytes;
}

TEST(GradientCheckpointing, KeepsTheInputOfEachBlockAlone) {
  const int64_t input = kTokens * kWidth * 4;
  EXPECT_EQ(bytes_kept(5, true) - bytes_kept(2, true), 3 * input);
  EXPECT_GT(bytes_kept(5, false) - bytes_kept(2, false), 3 * 8 * input);
}

// Linear layers that the backward pass computes; gradients of linear layers are plain matrix products.
int64_t linears_in_backward(int64_t num_layers, bool gradient_checkpointing) {
  static int64_t count;
  count = 0;
  const auto decoder = small_decoder(num_layers, gradient_checkpointing);
  const at::Tensor loss = hidden_of_one_text(*decoder).square().sum();
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback([](const at::RecordFunction& f) -> std::unique_ptr<at::ObserverContext> {
        count += std::string(f.name()) == "aten::linear";
        return nullptr;
      }).scopes({at::RecordScope::FUNCTION}));
  loss.backward();
  at::removeCallback(handle);
  return count;
}

TEST(GradientCheckpointing, ComputesEachBlockAgain) {
  EXPECT_EQ(linears_in_backward(3, true), 3 * 4);  // q k v, output, gate and up, down
  EXPECT_EQ(linears_in_backward(3, false), 0);
}

TEST(GradientCheckpointing, APartRunsOnceForwardAndOnceBackward) {
  int calls = 0, recording = 0;
  const at::Tensor w = at::full({3}, 2.0).requires_grad_(true), x = at::ones({3}).requires_grad_(true);
  const auto part = [&](const at::Tensor& input) {
    ++calls;
    recording += c10::GradMode::is_enabled();
    return input * w;
  };
  const at::Tensor y = recomputed(part, x, {w});
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(recording, 0);
  y.sum().backward();
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(recording, 1);
  EXPECT_TRUE(at::equal(x.grad(), at::full({3}, 2.0)));
  EXPECT_TRUE(at::equal(w.grad(), at::ones({3})));
  const c10::NoGradGuard no_grad;
  recomputed(part, x, {w});
  EXPECT_EQ(calls, 3);
}

}  // namespace
}  // namespace pan::model
