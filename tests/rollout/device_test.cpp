// Generation on every device: greedy answers are those of the CPU.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "model/decoder.h"
#include "rollout/generate.h"
#include "rollout_fakes.h"
#include "support/device.h"
#include "support/tiny_decoder.h"

namespace pan::rollout {
namespace {

constexpr int64_t kVocab = 40;

std::unique_ptr<model::Decoder> decoder_on(at::Device device) {
  auto decoder = model::make_decoder(pan::testing::tiny_arch(kVocab, 64), {.device = device}, 5);
  pan::testing::sharpen(*decoder, 12);
  return decoder;
}

std::vector<Sample> generate(at::Device device, int64_t slots) {
  const auto decoder = decoder_on(device);
  const FakeTokenizer tokenizer(kVocab);
  GeneratorOptions options;
  options.stop_tokens = {3};
  options.sampling.temperature = 0;
  options.sampling.slots = slots;
  options.sampling.max_new_tokens = 30;
  std::vector<Request> requests;
  for (int64_t i = 0; i < 10; ++i) {
    std::vector<int64_t> prompt;
    for (int64_t j = 0; j <= (i * 7) % 11; ++j) prompt.push_back((5 + 3 * i + j * j) % kVocab);
    requests.push_back({i, prompt, core::rng::Purpose::kSample, "p"});
  }
  return Generator(*decoder, tokenizer, options).run(requests);
}

using GeneratorOnDevice = pan::testing::DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, GeneratorOnDevice, pan::testing::devices());

TEST_P(GeneratorOnDevice, GreedyAnswersAreThoseOfTheCpu) {
  const auto expected = generate(at::kCPU, 64);
  size_t num_tokens = 0;
  for (int64_t slots : {3, 64}) {
    const auto got = generate(device(), slots);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].response, expected[i].response) << i;
      num_tokens += got[i].response.size();
    }
  }
  EXPECT_GT(num_tokens, 100u);
}

}  // namespace
}  // namespace pan::rollout
