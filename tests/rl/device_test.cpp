// Scoring and one PPO update on every device: the figures are those of the CPU, and they repeat bit for bit.
#include <ATen/ATen.h>
#include <ATen/Context.h>

#include "support/device.h"
#include "tiny.h"

namespace pan::rl {
namespace {

using UpdateOnDevice = pan::testing::DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, UpdateOnDevice, pan::testing::devices());

// The parameters of tests/rl/tiny.h on another device.
std::unique_ptr<model::Decoder> moved(const model::Decoder& from, at::Device device) {
  const at::NoGradGuard no_grad;
  auto to = model::make_decoder(from.arch(), {.dtype = from.options().dtype, .device = device}, 0);
  const model::NamedTensors a = from.parameters(), b = to->parameters();
  for (size_t i = 0; i < a.size(); ++i) at::Tensor(b[i].second).copy_(a[i].second);
  return to;
}

struct Outcome {
  ScoredBatch scored;
  Metrics metrics;
  std::vector<at::Tensor> parameters;
};

Outcome iterate(at::Device device, at::ScalarType type) {
  Tiny tiny(3, type);
  for (auto* decoder : {&tiny.policy, &tiny.reference, &tiny.critic}) *decoder = moved(**decoder, device);
  tiny.head = model::ValueHead::zeros(tiny_arch().hidden_size, device);
  const auto sequences = random_sequences(24, 1);
  std::vector<double> rewards;
  for (size_t i = 0; i < sequences.size(); ++i) rewards.push_back(i % 3 == 0 ? 1.0 : 0.0);
  const Iteration it = prepare(tiny, sequences, rewards, 9, 0);
  Updater updater(tiny.models(), tiny.config, tiny.options);
  Outcome out;
  out.metrics = updater.update({sequences, it.scored, it.advantages, it.plan, 0, 0.05}).metrics;
  out.scored = it.scored;
  for (const auto& [name, p] : tiny.policy->parameters()) out.parameters.push_back(p.detach().cpu());
  return out;
}

// Training turns deterministic algorithms on; so do these tests.
struct Deterministic {
  Deterministic() { at::globalContext().setDeterministicAlgorithms(true, false); }
  ~Deterministic() { at::globalContext().setDeterministicAlgorithms(false, false); }
};

TEST_P(UpdateOnDevice, FiguresAreThoseOfTheCpu) {
  const Deterministic deterministic;
  const Outcome cpu = iterate(at::kCPU, at::kFloat), here = iterate(device(), at::kFloat);
  EXPECT_TRUE(at::allclose(here.scored.logprobs, cpu.scored.logprobs, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(here.scored.entropy, cpu.scored.entropy, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(here.scored.values, cpu.scored.values, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(here.scored.reference_logprobs, cpu.scored.reference_logprobs, 1e-4, 1e-4));
  for (const char* name : {"actor/pg_loss", "actor/grad_norm", "critic/vf_loss", "critic/grad_norm"}) {
    ASSERT_EQ(cpu.metrics.count(name), 1u) << name;
    EXPECT_NEAR(here.metrics.at(name), cpu.metrics.at(name), 1e-3 * std::abs(cpu.metrics.at(name)) + 1e-5)
        << name;
  }
}

TEST_P(UpdateOnDevice, RepeatsBitForBit) {
  const Deterministic deterministic;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Outcome a = iterate(device(), type), b = iterate(device(), type);
    EXPECT_TRUE(at::equal(a.scored.logprobs, b.scored.logprobs));
    EXPECT_EQ(a.metrics.at("actor/grad_norm"), b.metrics.at("actor/grad_norm"));
    ASSERT_EQ(a.parameters.size(), b.parameters.size());
    for (size_t i = 0; i < a.parameters.size(); ++i)
      EXPECT_TRUE(at::equal(a.parameters[i], b.parameters[i])) << i;
  }
}

TEST_P(UpdateOnDevice, FirstRatioIsExactlyOne) {
  const Deterministic deterministic;
  EXPECT_EQ(iterate(device(), at::kFloat).metrics.at("actor/first_ratio_error"), 0.0);
}

}  // namespace
}  // namespace pan::rl
