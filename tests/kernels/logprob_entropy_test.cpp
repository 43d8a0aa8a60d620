// Log-probabilities and entropies from hidden states: values and gradients against float64, invariance under
// chunking.
#include "kernels/logprob_entropy.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <vector>

#include "kernels/cases.h"
#include "kernels/reference/reference.h"

namespace pan::kernels::testing {
namespace {

struct Data {
  at::Tensor hidden, weight, targets;     // [N, C], [V, C], [N]
  at::Tensor grad_logprob, grad_entropy;  // [N] float32
};

Data make_data(int64_t rows, int64_t size, int64_t vocab, at::ScalarType type, double spread = 1.0) {
  at::Generator generator =
      at::detail::createCPUGenerator(static_cast<uint64_t>(rows * 131 + size * 7 + vocab));
  const at::TensorOptions floats(at::kFloat);
  const double factor = std::sqrt(spread / std::sqrt(static_cast<double>(size)));
  return {(at::randn({rows, size}, generator, floats) * factor).to(type),
          (at::randn({vocab, size}, generator, floats) * factor).to(type),
          at::randint(0, vocab, {rows}, generator, at::TensorOptions(at::kLong)),
          at::randn({rows}, generator, floats), at::randn({rows}, generator, floats)};
}

struct Result {
  at::Tensor logprob, entropy, grad_hidden, grad_weight;
};

Result run(const Data& data, const LogprobOptions& options) {
  const at::Tensor hidden = data.hidden.detach().clone().requires_grad_(true);
  const at::Tensor weight = data.weight.detach().clone().requires_grad_(true);
  const LogprobEntropy out = logprob_entropy(hidden, weight, data.targets, options);
  at::Tensor loss = (out.logprob * data.grad_logprob).sum();
  if (options.entropy_gradient) loss = loss + (out.entropy * data.grad_entropy).sum();
  const auto grads = torch::autograd::grad({loss}, {hidden, weight});
  return {out.logprob.detach(), out.entropy.detach(), grads[0], grads[1]};
}

reference::LogprobGradients expected_of(const Data& data, const LogprobOptions& options) {
  const at::Tensor grad_entropy =
      options.entropy_gradient ? data.grad_entropy : at::zeros_like(data.grad_entropy);
  return reference::logprob_entropy(data.hidden, data.weight, data.targets, options.temperature,
                                    data.grad_logprob, grad_entropy);
}

double largest(const at::Tensor& x) { return x.numel() == 0 ? 0 : x.abs().max().item<double>(); }
double largest_error(const at::Tensor& got, const at::Tensor& expected) {
  return largest(got.cpu().to(at::kDouble) - expected);
}

Data moved_to(const Data& data, const at::Device& device) {
  return {data.hidden.to(device), data.weight.to(device), data.targets.to(device),
          data.grad_logprob.to(device), data.grad_entropy.to(device)};
}

using LogprobEntropyKernel = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, LogprobEntropyKernel, ::testing::ValuesIn(kernel_devices()));

TEST_P(LogprobEntropyKernel, ValuesAndGradientsMatchFloat64) {
  struct Shape {
    int64_t rows, size, vocab;
  };
  const Shape shapes[] = {{1, 8, 2},      {2, 64, 1},      {31, 33, 47},  {33, 96, 1025},
                          {70, 20, 5000}, {129, 64, 3000}, {3, 12, 9000}, {530, 8, 40}};
  for (const Shape& shape : shapes) {
    for (bool entropy_gradient : {false, true}) {
      SCOPED_TRACE(::testing::Message() << shape.rows << " x " << shape.size << " x " << shape.vocab);
      const Data data = make_data(shape.rows, shape.size, shape.vocab, at::kFloat);
      const LogprobOptions options{.temperature = 0.7, .entropy_gradient = entropy_gradient};
      const Result got = run(moved_to(data, at::Device(GetParam())), options);
      const reference::LogprobGradients expected = expected_of(data, options);
      expect_within("lse", got.logprob, expected.logprob, 0);
      expect_within("entropy", got.entropy, expected.entropy, 0);
      // Sums of float32 products: relative to the largest gradient.
      EXPECT_LE(largest_error(got.grad_hidden, expected.grad_hidden),
                2e-5 * (largest(expected.grad_hidden) + 0.01));
      EXPECT_LE(largest_error(got.grad_weight, expected.grad_weight),
                2e-5 * (largest(expected.grad_weight) + 0.01));
    }
  }
}

// Logits that are exactly values of `hidden`, each many times, so that products round nothing.
TEST_P(LogprobEntropyKernel, LogitsOfAnySpread) {
  for (const auto& [vocab, spread] : {std::pair{7, 1.0}, std::pair{2099, 30.0}, std::pair{9001, 30.0}}) {
    SCOPED_TRACE(::testing::Message() << vocab << ", spread " << spread);
    constexpr int64_t kSize = 32;
    Data data = make_data(5, kSize, vocab, at::kFloat);
    data.hidden = data.hidden * (spread / data.hidden.std().item<double>());
    data.weight = at::eye(kSize, at::kFloat).repeat({vocab / kSize + 1, 1}).slice(0, 0, vocab);
    const LogprobOptions options{.temperature = 0.7, .entropy_gradient = true};
    const Result got = run(moved_to(data, at::Device(GetParam())), options);
    const reference::LogprobGradients expected = expected_of(data, options);
    const double score = largest(data.hidden) / options.temperature;
    expect_within("lse", got.logprob, expected.logprob, score);
    expect_within("entropy", got.entropy, expected.entropy, score);
    EXPECT_LE(largest_error(got.grad_hidden, expected.grad_hidden),
              2e-5 * (1 + largest(expected.grad_hidden)));
  }
}

TEST(LogprobEntropyReference, GradientsAreDerivatives) {
  // Central differences in float64; the kernels' gradients are compared with the reference's elsewhere.
  Data data = make_data(3, 5, 11, at::kFloat);
  data.hidden = data.hidden.to(at::kDouble), data.weight = data.weight.to(at::kDouble);
  const LogprobOptions options{.temperature = 1.3, .entropy_gradient = true};
  const reference::LogprobGradients got = expected_of(data, options);
  auto loss_at = [&](bool of_hidden, int64_t i, int64_t j, double step) {
    Data moved = data;
    at::Tensor& x = of_hidden ? moved.hidden : moved.weight;
    x = x.clone();
    x[i][j] += step;
    const reference::LogprobGradients out = expected_of(moved, options);
    return (out.logprob * data.grad_logprob + out.entropy * data.grad_entropy).sum().item<double>();
  };
  constexpr double kStep = 1e-5;  // truncation and rounding are both about 1e-10
  for (bool of_hidden : {true, false}) {
    const at::Tensor& gradient = of_hidden ? got.grad_hidden : got.grad_weight;
    for (int64_t i = 0; i < gradient.size(0); ++i) {
      for (int64_t j = 0; j < gradient.size(1); ++j) {
        const double slope =
            (loss_at(of_hidden, i, j, kStep) - loss_at(of_hidden, i, j, -kStep)) / (2 * kStep);
        EXPECT_NEAR(gradient[i][j].item<double>(), slope, 1e-8);
      }
    }
  }
}

TEST_P(LogprobEntropyKernel, LowPrecisionInputsAreExactUpToTheResultsType) {
  for (at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    SCOPED_TRACE(c10::toString(type));
    const Data data = make_data(50, 96, 2100, type, 2.0);
    const LogprobOptions options{.temperature = 0.8, .entropy_gradient = true};
    const Result got = run(moved_to(data, at::Device(GetParam())), options);
    const reference::LogprobGradients expected = expected_of(data, options);
    // The reference takes the same rounded inputs, so values keep the float32 bounds.
    expect_within("lse", got.logprob, expected.logprob, 0);
    expect_within("entropy", got.entropy, expected.entropy, 0);
    ASSERT_EQ(got.grad_hidden.scalar_type(), type);
    ASSERT_EQ(got.grad_weight.scalar_type(), type);
    // Plain ATen in the same type is allowed to be half as good.
    const at::Tensor hidden = data.hidden.clone().requires_grad_(true),
                     weight = data.weight.clone().requires_grad_(true);
    const at::Tensor logp = (at::mm(hidden, weight.t()) / 0.8).log_softmax(-1);
    const at::Tensor picked = logp.gather(1, data.targets.unsqueeze(1)).squeeze(1);
    const at::Tensor entropy = -(logp.exp() * logp).sum(-1);
    const auto plain = torch::autograd::grad(
        {(picked * data.grad_logprob + entropy * data.grad_entropy).sum()}, {hidden, weight});
    EXPECT_LE(largest_error(got.grad_hidden, expected.grad_hidden),
              2 * largest_error(plain[0], expected.grad_hidden) + 1e-6);
    EXPECT_LE(largest_error(got.grad_weight, expected.grad_weight),
              2 * largest_error(plain[1], expected.grad_weight) + 1e-6);
  }
}

TEST_P(LogprobEntropyKernel, ChunksOtherRowsAndThreadsChangeNothing) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Data data = moved_to(make_data(150, 48, 5000, type), at::Device(GetParam()));
    const Result whole = run(data, {});
    const int before = at::get_num_threads();
    at::set_num_threads(3);
    const Result small = run(data, {.chunk_bytes = 1});
    at::set_num_threads(before);
    EXPECT_TRUE(at::equal(whole.logprob, small.logprob));
    EXPECT_TRUE(at::equal(whole.entropy, small.entropy));
    const double rounding = type == at::kFloat ? 2e-6 : 0.01;
    EXPECT_LE(largest(whole.grad_hidden - small.grad_hidden), rounding * largest(whole.grad_hidden));
    EXPECT_LE(largest(whole.grad_weight - small.grad_weight), rounding * largest(whole.grad_weight));
    const LogprobEntropy part =
        logprob_entropy(data.hidden.slice(0, 37, 59), data.weight, data.targets.slice(0, 37, 59), {});
    EXPECT_TRUE(at::equal(part.logprob, whole.logprob.slice(0, 37, 59)));
    EXPECT_TRUE(at::equal(part.entropy, whole.entropy.slice(0, 37, 59)));
  }
}

TEST_P(LogprobEntropyKernel, PeakedAndUniformRows) {
  Data data = make_data(4, 8, 3000, at::kFloat);
  data.hidden.fill_(0);
  data.weight.fill_(0);
  data.weight.select(1, 0)[7] = 200.0f;  // rows 1.. put everything on token 7
  data.hidden.slice(0, 1).select(1, 0).fill_(1.0f);
  data.targets.fill_(7);
  data.targets[3] = 8;
  const Data moved = moved_to(data, at::Device(GetParam()));
  const LogprobEntropy out = logprob_entropy(moved.hidden, moved.weight, moved.targets, {});
  EXPECT_NEAR(out.logprob[0].item<double>(), -std::log(3000.0), 1e-5);
  EXPECT_NEAR(out.entropy[0].item<double>(), std::log(3000.0), 1e-5);
  EXPECT_EQ(out.logprob[1].item<double>(), 0.0);
  EXPECT_EQ(out.entropy[1].item<double>(), 0.0);
  EXPECT_NEAR(out.logprob[3].item<double>(), -200.0, 1e-4);
}

TEST_P(LogprobEntropyKernel, EntropyIsDetachedUnlessAskedFor) {
  const Data data = moved_to(make_data(3, 8, 20, at::kFloat), at::Device(GetParam()));
  const at::Tensor hidden = data.hidden.clone().requires_grad_(true);
  EXPECT_FALSE(logprob_entropy(hidden, data.weight, data.targets, {}).entropy.requires_grad());
  const LogprobEntropy out = logprob_entropy(hidden, data.weight, data.targets, {.entropy_gradient = true});
  EXPECT_TRUE(out.entropy.requires_grad());
  // Either output alone can be the root of a backward pass.
  const auto of_entropy = torch::autograd::grad({out.entropy.sum()}, {hidden}, {}, true);
  EXPECT_GT(largest(of_entropy[0]), 0);
  const auto of_logprob = torch::autograd::grad({out.logprob.sum()}, {hidden});
  EXPECT_GT(largest(of_logprob[0]), 0);
}

TEST_P(LogprobEntropyKernel, NoRowsAndWrongArguments) {
  const Data d = moved_to(make_data(4, 8, 20, at::kFloat), at::Device(GetParam()));
  EXPECT_EQ(logprob_entropy(d.hidden.slice(0, 0, 0), d.weight, d.targets.slice(0, 0, 0), {}).logprob.numel(),
            0);
  EXPECT_THROW(logprob_entropy(d.hidden, d.weight.slice(1, 0, 7), d.targets, {}), c10::ValueError);
  EXPECT_THROW(logprob_entropy(d.hidden, d.weight.to(at::kHalf), d.targets, {}), c10::ValueError);
  EXPECT_THROW(logprob_entropy(d.hidden, d.weight, d.targets.to(at::kInt), {}), c10::ValueError);
  EXPECT_THROW(logprob_entropy(d.hidden, d.weight, d.targets.slice(0, 1), {}), c10::ValueError);
  EXPECT_THROW(logprob_entropy(d.hidden, d.weight, d.targets + 20, {}), c10::ValueError);
  EXPECT_THROW(logprob_entropy(d.hidden, d.weight, d.targets, {.temperature = 0}), c10::ValueError);
  EXPECT_THROW(logprob_entropy(d.hidden, d.weight, d.targets, {.chunk_bytes = 0}), c10::ValueError);
}

}  // namespace
}  // namespace pan::kernels::testing
