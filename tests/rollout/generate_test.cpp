#include "rollout/generate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "model/batch.h"
#include "rollout/bench.h"
#include "rollout_fakes.h"
#include "support/tiny_decoder.h"

namespace pan::rollout {
namespace {

constexpr int64_t kVocab = 40, kContext = 64, kStop = 3;

std::unique_ptr<model::Decoder> tiny_decoder(at::ScalarType dtype = at::kFloat) {
  auto decoder = model::make_decoder(pan::testing::tiny_arch(kVocab, kContext), {.dtype = dtype}, 5);
  pan::testing::sharpen(*decoder, 12);
  return decoder;
}

Request request(int64_t id, std::vector<int64_t> prompt) {
  return {id, std::move(prompt), core::rng::Purpose::kSample, "p" + std::to_string(id)};
}

// Ten prompts of different lengths.
std::vector<Request> requests() {
  std::vector<Request> out;
  for (int64_t i = 0; i < 10; ++i) {
    std::vector<int64_t> prompt;
    for (int64_t j = 0; j <= (i * 7) % 11; ++j) prompt.push_back((5 + 3 * i + j * j) % kVocab);
    out.push_back(request(1000 + i, prompt));
  }
  return out;
}

GeneratorOptions options(int64_t slots = 64, int64_t max_new_tokens = 30) {
  GeneratorOptions o;
  o.seed = 42;
  o.stop_tokens = {kStop};
  o.sampling.slots = slots;
  o.sampling.max_new_tokens = max_new_tokens;
  o.entropy = true;
  return o;
}

struct Fixture {
  std::unique_ptr<model::Decoder> decoder = tiny_decoder();
  FakeTokenizer tokenizer{kVocab};
  GenerateStats stats;

  std::vector<Sample> run(const std::vector<Request>& rs, const GeneratorOptions& o,
                          const RunHooks& hooks = {}) {
    Generator g(*decoder, tokenizer, o);
    std::vector<Sample> out = g.run(rs, hooks);
    stats = g.stats();
    return out;
  }
};

void expect_same(const std::vector<Sample>& a, const std::vector<Sample>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].sample_id, b[i].sample_id);
    EXPECT_EQ(a[i].response, b[i].response) << "sample " << i;
    EXPECT_EQ(a[i].finish, b[i].finish);
    EXPECT_EQ(a[i].text, b[i].text);
    ASSERT_EQ(a[i].logprobs.size(), b[i].logprobs.size());
    for (size_t j = 0; j < a[i].logprobs.size(); ++j) EXPECT_NEAR(a[i].logprobs[j], b[i].logprobs[j], 1e-5);
  }
}

core::ErrorKind kind_of_failure(const std::function<void()>& f, std::string* text = nullptr) {
  try {
    f();
  } catch (const core::Error& e) {
    if (text != nullptr) *text = e.what();
    return e.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return core::ErrorKind::kInternal;
}

TEST(Generator, RefilledSlotsGiveTheSamplesOfOneByOneGeneration) {
  Fixture f;
  std::vector<Sample> alone;
  for (const Request& r : requests()) alone.push_back(f.run({r}, options()).front());
  size_t shortest = 99, longest = 0;
  for (const Sample& s : alone) {
    shortest = std::min(shortest, s.response.size());
    longest = std::max(longest, s.response.size());
  }
  ASSERT_LT(shortest, longest);  // otherwise nothing is refilled early
  for (int64_t slots : {1, 2, 3, 64}) {
    GeneratorOptions o = options(slots);
    o.sampling.prefill_tokens = slots == 3 ? 8 : 4096;
    expect_same(f.run(requests(), o), alone);
  }
}

TEST(Generator, FinishedRowsCostNothingMore) {
  Fixture f;
  int64_t steps = 0;
  std::vector<int64_t> widths;  // tokens per step of the batch
  int64_t before = 0;
  const auto samples = f.run(requests(), options(), {.on_progress = [&](const Progress& p) {
                               widths.push_back(p.num_tokens - before);
                               before = p.num_tokens;
                             }});
  int64_t total = 0, longest = 0;
  for (const Sample& s : samples) {
    total += static_cast<int64_t>(s.response.size());
    longest = std::max(longest, static_cast<int64_t>(s.response.size()));
  }
  steps = f.stats.num_steps;
  EXPECT_EQ(steps, longest - 1);  // the first token comes out of the prefill
  EXPECT_EQ(f.stats.num_new_tokens, total);
  EXPECT_TRUE(std::is_sorted(widths.rbegin(), widths.rend()));
  EXPECT_LT(widths.back(), widths.front());
}

TEST(Generator, SharedPromptsAreReadOnceAndChangeNothing) {
  Fixture f;
  std::vector<Request> grouped;
  int64_t distinct_tokens = 0;
  for (int64_t g = 0; g < 3; ++g) {
    const std::vector<int64_t> prompt = requests()[static_cast<size_t>(g) + 1].prompt;
    distinct_tokens += static_cast<int64_t>(prompt.size());
    for (int64_t i = 0; i < 4; ++i) grouped.push_back(request(10 * g + i, prompt));
  }
  std::vector<Sample> alone;
  for (const Request& r : grouped) alone.push_back(f.run({r}, options()).front());
  EXPECT_NE(alone[0].response, alone[1].response);  // same prompt, other random numbers
  for (int64_t slots : {1, 2, 3, 5, 64}) {
    expect_same(f.run(grouped, options(slots)), alone);
    EXPECT_EQ(f.stats.num_prefill_tokens, distinct_tokens) << slots << " slots";
  }
  // Samples of a prompt that are spread over the queue still share it while a slot holds it.
  std::vector<Request> spread;
  std::vector<Sample> spread_alone;
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t g = 0; g < 3; ++g) {
      spread.push_back(grouped[static_cast<size_t>(4 * g + i)]);
      spread_alone.push_back(alone[static_cast<size_t>(4 * g + i)]);
    }
  for (int64_t slots : {1, 2, 3, 4, 64}) expect_same(f.run(spread, options(slots)), spread_alone);
}

// Log-softmax of one full forward over prompt and response: rows of the response's tokens [R, V].
at::Tensor full_forward(const model::Decoder& decoder, const Sample& s, double temperature) {
  std::vector<int64_t> all = s.prompt;
  all.insert(all.end(), s.response.begin(), s.response.end());
  const at::Tensor hidden = decoder.hidden(model::pack({all}, at::kCPU));
  const at::Tensor logits = at::linear(hidden, decoder.output_weight()).to(at::kDouble) / temperature;
  const auto from = static_cast<int64_t>(s.prompt.size()) - 1;
  return at::log_softmax(logits.narrow(0, from, static_cast<int64_t>(s.response.size())), 1).detach();
}

TEST(Generator, LogprobsAndEntropiesAreThoseOfAFullForward) {
  Fixture f;
  for (double temperature : {1.0, 0.7, 1.5}) {
    GeneratorOptions o = options(3);
    o.sampling.temperature = temperature;
    o.sampling.top_k = 20;  // log-probabilities stay those of the full softmax
    for (const Sample& s : f.run(requests(), o)) {
      const at::Tensor expected = full_forward(*f.decoder, s, temperature);
      const at::Tensor entropy = -(expected.exp() * expected).sum(1);
      ASSERT_EQ(s.logprobs.size(), s.response.size());
      for (size_t i = 0; i < s.response.size(); ++i) {
        const auto row = static_cast<int64_t>(i);
        EXPECT_NEAR(s.logprobs[i], expected[row][s.response[i]].item<double>(), 1e-4);
        EXPECT_NEAR(s.entropies[i], entropy[row].item<double>(), 1e-4);
      }
      EXPECT_GT(s.cut_mass, 0);
      EXPECT_LT(s.cut_mass, 1);
    }
  }
}

TEST(Generator, GreedyTakesTheBestTokenOfAFullForward) {
  Fixture f;
  GeneratorOptions o = options(4, 12);
  o.sampling.temperature = 0;
  for (const Sample& s : f.run(requests(), o)) {
    const at::Tensor expected = full_forward(*f.decoder, s, 1.0).argmax(1);
    for (size_t i = 0; i < s.response.size(); ++i)
      EXPECT_EQ(s.response[i], expected[static_cast<int64_t>(i)].item<int64_t>());
  }
}

TEST(Generator, StopTokenBelongsToTheResponseButNotToTheText) {
  Fixture f;
  int num_stopped = 0;
  for (const Sample& s : f.run(requests(), options())) {
    if (s.finish != FinishReason::kEndOfText) continue;
    ++num_stopped;
    EXPECT_EQ(s.response.back(), kStop);
    std::string text;
    for (size_t i = 0; i + 1 < s.response.size(); ++i) {
      EXPECT_NE(s.response[i], kStop);
      text += f.tokenizer.token_bytes(s.response[i]);
    }
    EXPECT_EQ(s.text, text);
  }
  EXPECT_GT(num_stopped, 0);
}

TEST(Generator, StopStringCutsTheTextAndKeepsTheTokens) {
  Fixture f;
  GeneratorOptions o = options();
  o.stop_tokens = {};
  const Sample free_run = f.run({request(1, {5, 6})}, o).front();
  ASSERT_EQ(free_run.finish, FinishReason::kLength);
  // The last byte of token 4 and the first of token 5: a match across a border.
  const std::string before = f.tokenizer.token_bytes(free_run.response[4]);
  const std::string after = f.tokenizer.token_bytes(free_run.response[5]);
  const std::string wanted = before.substr(1) + after.substr(0, 1);
  o.sampling.stop_strings = {wanted};
  const Sample s = f.run({request(1, {5, 6})}, o).front();
  EXPECT_EQ(s.finish, FinishReason::kStopString);
  EXPECT_EQ(s.text, free_run.text.substr(0, free_run.text.find(wanted)));
  ASSERT_LE(s.response.size(), 6u);
  EXPECT_TRUE(std::equal(s.response.begin(), s.response.end(), free_run.response.begin()));
  EXPECT_EQ(s.logprobs.size(), s.response.size());
}

TEST(Generator, ResponsesEndAtTheirLimitsAsTruncated) {
  Fixture f;
  GeneratorOptions o = options(64, 7);
  o.stop_tokens = {};
  for (const Sample& s : f.run(requests(), o)) {
    EXPECT_EQ(s.response.size(), 7u);
    EXPECT_EQ(s.finish, FinishReason::kLength);
  }
  // The context is the other limit: 62 prompt tokens leave room for 2.
  o.sampling.max_new_tokens = 30;
  const Sample s = f.run({request(1, std::vector<int64_t>(62, 9)), request(2, {4})}, o).front();
  EXPECT_EQ(s.response.size(), 2u);
  EXPECT_EQ(s.finish, FinishReason::kLength);
  o.max_length = 10;
  EXPECT_EQ(f.run({request(2, {4, 5})}, o).front().response.size(), 8u);
}

TEST(Generator, UnusablePromptsAreErrorsThatNameThem) {
  Fixture f;
  std::string text;
  const auto failure = [&](std::vector<int64_t> prompt) {
    return kind_of_failure([&] { f.run({request(0, {1}), request(7, prompt)}, options()); }, &text);
  };
  EXPECT_EQ(failure(std::vector<int64_t>(kContext, 1)), core::ErrorKind::kData);
  EXPECT_NE(text.find("p7"), std::string::npos) << text;
  EXPECT_NE(text.find("64"), std::string::npos) << text;
  EXPECT_EQ(failure({}), core::ErrorKind::kData);
  EXPECT_EQ(failure({1, kVocab}), core::ErrorKind::kData);
  EXPECT_EQ(failure({-1}), core::ErrorKind::kData);
  EXPECT_TRUE(f.run({}, options()).empty());
}

TEST(Generator, SettingsOutOfRangeAreRefused) {
  Fixture f;
  const auto failure = [&](const std::function<void(GeneratorOptions&)>& change) {
    GeneratorOptions o = options();
    change(o);
    return kind_of_failure([&] { Generator(*f.decoder, f.tokenizer, o); });
  };
  EXPECT_EQ(failure([](auto& o) { o.sampling.temperature = 1e-9; }), core::ErrorKind::kConfig);
  EXPECT_EQ(failure([](auto& o) { o.sampling.temperature = std::nan(""); }), core::ErrorKind::kConfig);
  EXPECT_EQ(failure([](auto& o) { o.sampling.top_p = 0; }), core::ErrorKind::kConfig);
  EXPECT_EQ(failure([](auto& o) { o.sampling.slots = 0; }), core::ErrorKind::kConfig);
  EXPECT_EQ(failure([](auto& o) { o.max_length = kContext + 1; }), core::ErrorKind::kConfig);
}

TEST(Generator, WeightsThatAreNotFiniteStopItWithTheRequestsName) {
  Fixture f;
  {
    const c10::NoGradGuard no_grad;
    f.decoder->output_weight()[0][0] = std::numeric_limits<float>::quiet_NaN();
  }
  std::string text;
  EXPECT_EQ(kind_of_failure([&] { f.run({request(3, {1, 2})}, options()); }, &text), core::ErrorKind::kGuard);
  EXPECT_NE(text.find("p3"), std::string::npos) << text;
}

TEST(Generator, InterruptIsAskedBetweenSteps) {
  Fixture f;
  int asked = 0;
  size_t drawn = 0;
  const RunHooks hooks{.on_progress = {},
                       .should_stop = [&] { return ++asked > 4; },
                       .on_token = [&](size_t, int64_t) { ++drawn; }};
  GeneratorOptions o = options(2);
  o.stop_tokens = {};
  EXPECT_EQ(kind_of_failure([&] { f.run(requests(), o, hooks); }), core::ErrorKind::kInterrupted);
  EXPECT_EQ(asked, 5);
  EXPECT_EQ(drawn, 8u);  // one prefill and three steps of two rows
}

TEST(Generator, TokensAreReportedAsTheyAreDrawn) {
  Fixture f;
  std::vector<std::vector<int64_t>> seen(requests().size());
  Progress last;
  const RunHooks hooks{.on_progress = [&](const Progress& p) { last = p; },
                       .should_stop = {},
                       .on_token = [&](size_t i, int64_t token) { seen[i].push_back(token); }};
  const auto samples = f.run(requests(), options(3), hooks);
  for (size_t i = 0; i < samples.size(); ++i) EXPECT_EQ(seen[i], samples[i].response);
  EXPECT_EQ(last.num_finished, 10);
  EXPECT_EQ(last.num_requests, 10);
  EXPECT_EQ(last.num_tokens, f.stats.num_new_tokens);
}

TEST(Generator, SeedPurposeAndIdNameTheRandomNumbers) {
  Fixture f;
  const auto response = [&](uint64_t seed, core::rng::Purpose purpose, int64_t id) {
    GeneratorOptions o = options();
    o.seed = seed;
    o.stop_tokens = {};
    return f.run({{id, {5, 6}, purpose, ""}}, o).front().response;
  };
  const auto base = response(1, core::rng::Purpose::kSample, 9);
  EXPECT_EQ(base, response(1, core::rng::Purpose::kSample, 9));
  EXPECT_NE(base, response(2, core::rng::Purpose::kSample, 9));
  EXPECT_NE(base, response(1, core::rng::Purpose::kTest, 9));
  EXPECT_NE(base, response(1, core::rng::Purpose::kSample, 10));
}

TEST(Generator, TrainingAfterwardsStillWorks) {
  Fixture f;
  for (auto& [name, tensor] : f.decoder->parameters()) tensor.set_requires_grad(true);
  const Sample s = f.run({request(1, {5, 6})}, options()).front();
  const at::Tensor hidden = f.decoder->hidden(model::pack({s.prompt}, at::kCPU));
  ASSERT_TRUE(hidden.requires_grad());
  hidden.sum().backward();
  for (auto& [name, tensor] : f.decoder->parameters()) EXPECT_TRUE(tensor.grad().defined()) << name;
}

TEST(Generator, Bfloat16AgreesWithItsOwnFullForward) {
  Fixture f;
  f.decoder = tiny_decoder(at::kBFloat16);
  double sum = 0;
  int count = 0;
  for (const Sample& s : f.run(requests(), options(3))) {
    const at::Tensor expected = full_forward(*f.decoder, s, 1.0);
    for (size_t i = 0; i < s.response.size(); ++i, ++count)
      sum += std::abs(s.logprobs[i] - expected[static_cast<int64_t>(i)][s.response[i]].item<double>());
  }
  // Hidden states and, in the full forward, logits of a size up to 4 are rounded to 8 bits: steps of 2^-7.
  EXPECT_LT(sum / count, 0.03);
}

TEST(BenchGenerate, CountsWhatWasGenerated) {
  Fixture f;
  GeneratorOptions o = options(64, 5);
  o.stop_tokens = {};
  const BenchResult r = bench_generate(*f.decoder, f.tokenizer, o, requests(), 2);
  EXPECT_EQ(r.total_s.size(), 2u);
  EXPECT_EQ(r.stats.num_new_tokens, 50);
  EXPECT_EQ(r.stats.num_steps, 4);
  EXPECT_EQ(r.samples.size(), 10u);
  EXPECT_GT(r.stats.total_s, 0);
  EXPECT_LE(r.stats.total_s, *std::max_element(r.total_s.begin(), r.total_s.end()));
}

}  // namespace
}  // namespace pan::rollout
