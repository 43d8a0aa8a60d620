#include "rollout/sampling.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "rollout/sample_loops.h"
#include "support/support.h"

namespace pan::rollout {
namespace {

using core::rng::Key;
using core::rng::Purpose;

Key key_of(uint64_t position) { return {11, Purpose::kTest, 5, position}; }

at::Tensor normal_rows(int64_t rows, int64_t columns, double spread, uint64_t seed) {
  at::Tensor out = at::empty({rows, columns}, at::kFloat);
  core::rng::Stream stream({seed, Purpose::kTest, 0, 0});
  float* p = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < rows * columns; ++i) p[i] = static_cast<float>(spread * stream.normal());
  return out;
}

struct Case {
  std::string name;
  at::Tensor logits;  // [V]
  SamplerOptions options;
  core::Json expected;
};

std::vector<Case> fixture_cases() {
  const core::Json file = core::read_json_file(testing::fixture("rollout") + "/sampling.json");
  std::vector<Case> out;
  for (const auto& row : file["rows"]) {
    const at::Tensor logits = at::tensor(row["logits"].get<std::vector<float>>());
    for (const auto& c : row["cases"])
      out.push_back({row["name"], logits, {c["temperature"], c["top_k"], c["top_p"], true}, c});
  }
  return out;
}

std::string label(const Case& c) {
  return c.name + " T=" + std::to_string(c.options.temperature) + " k=" + std::to_string(c.options.top_k) +
         " p=" + std::to_string(c.options.top_p);
}

TEST(Sampling, KeepsTheSetsOfTheNumpyFixture) {
  for (const Case& c : fixture_cases())
    EXPECT_EQ(kept_tokens(c.logits, c.options), c.expected["kept"].get<std::vector<int64_t>>()) << label(c);
}

TEST(Sampling, FiguresEqualTheNumpyFixture) {
  for (const Case& c : fixture_cases()) {
    SamplerOptions greedy = c.options;
    const Draws d = sample_rows(c.logits.unsqueeze(0), c.options, {key_of(0)});
    EXPECT_NEAR(d.cut_mass[0], c.expected["cut_mass"].get<double>(), 2e-6) << label(c);
    EXPECT_NEAR(d.entropies[0], c.expected["entropy"].get<double>(), 1e-5) << label(c);
    greedy.top_k = 1;  // draws the most likely token
    greedy.top_p = 1;
    const Draws best = sample_rows(c.logits.unsqueeze(0), greedy, {key_of(0)});
    EXPECT_NEAR(best.logprobs[0], c.expected["max_logprob"].get<double>(), 2e-6) << label(c);
  }
}

TEST(Sampling, DrawsOnlyKeptTokensAndReportsTheFullSoftmax) {
  for (const Case& c : fixture_cases()) {
    const auto kept = c.expected["kept"].get<std::vector<int64_t>>();
    const at::Tensor reference = at::log_softmax(c.logits.to(at::kDouble) / c.options.temperature, 0);
    for (uint64_t i = 0; i < 40; ++i) {
      const Draws d = sample_rows(c.logits.unsqueeze(0), c.options, {key_of(i)});
      EXPECT_TRUE(std::binary_search(kept.begin(), kept.end(), d.tokens[0])) << label(c);
      EXPECT_NEAR(d.logprobs[0], reference[d.tokens[0]].item<double>(), 1e-5) << label(c);
    }
  }
}

TEST(Sampling, FrequenciesFollowTheRenormalisedDistribution) {
  const at::Tensor logits = at::tensor({2.0f, 0.5f, -1.0f, 1.0f, 0.0f, -3.0f, 1.5f, 0.25f});
  const int n = 40000;
  for (const SamplerOptions& o : {SamplerOptions{}, SamplerOptions{0.5, 0, 1.0}, SamplerOptions{1.0, 4, 1.0},
                                  SamplerOptions{1.0, 0, 0.8}}) {
    const std::vector<int64_t> kept = kept_tokens(logits, o);
    at::Tensor p = at::zeros({8}, at::kDouble);
    for (int64_t k : kept) p[k] = std::exp(logits[k].item<double>() / o.temperature);
    p /= p.sum().item<double>();
    std::vector<int> counts(8);
    std::vector<Key> keys;
    for (int i = 0; i < n; ++i) keys.push_back({3, Purpose::kTest, 1, static_cast<uint64_t>(i)});
    for (int64_t t : sample_rows(logits.unsqueeze(0).expand({n, 8}), o, keys).tokens)
      ++counts[static_cast<size_t>(t)];
    // Five standard errors for each of at most 8 tokens and 4 settings: a right sampler fails with
    // probability 2e-5 over all seeds, and never with this one once it passed.
    for (int64_t k = 0; k < 8; ++k) {
      const double q = p[k].item<double>();
      EXPECT_NEAR(counts[static_cast<size_t>(k)], n * q, 5 * std::sqrt(n * q * (1 - q)) + 1e-9)
          << "token " << k;
    }
  }
}

TEST(Sampling, InvertsTheCumulativeDistribution) {
  // The token is the one whose interval of the cumulative distribution, in order of id, holds the uniform
  // number.
  const at::Tensor logits = normal_rows(1, 5003, 2.0, 7);
  const at::Tensor cumulative = at::softmax(logits[0].to(at::kDouble), 0).cumsum(0);
  for (uint64_t i = 0; i < 200; ++i) {
    const double u = core::rng::uniform(key_of(i));
    const int64_t token = sample_rows(logits, {}, {key_of(i)}).tokens[0];
    const double end = cumulative[token].item<double>();
    const double begin = token == 0 ? 0 : cumulative[token - 1].item<double>();
    EXPECT_LE(begin, u + 1e-6);
    EXPECT_GE(end, u - 1e-6);
  }
}

TEST(Sampling, ARowDoesNotDependOnTheOthersOrOnThreads) {
  const at::Tensor logits = normal_rows(7, 1031, 3.0, 9);
  std::vector<Key> keys;
  for (uint64_t i = 0; i < 7; ++i) keys.push_back({2, Purpose::kSample, i * 100, i});
  const SamplerOptions o{0.8, 200, 0.9, true};
  const Draws together = sample_rows(logits, o, keys);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (int64_t b = 0; b < 7; ++b) {
    const auto i = static_cast<size_t>(b);
    const Draws alone = sample_rows(logits.narrow(0, b, 1), o, {keys[i]});
    EXPECT_EQ(alone.tokens[0], together.tokens[i]);
    EXPECT_EQ(alone.logprobs[0], together.logprobs[i]);
    EXPECT_EQ(alone.entropies[0], together.entropies[i]);
    EXPECT_EQ(alone.cut_mass[0], together.cut_mass[i]);
  }
  at::set_num_threads(threads);
}

TEST(Sampling, GreedyTakesTheFirstOfTheLargestAtTemperatureOne) {
  const at::Tensor logits = at::tensor({0.0f, 3.0f, -1.0f, 3.0f});
  const Draws d = sample_rows(logits.unsqueeze(0),
                              {.temperature = 0, .top_k = 3, .top_p = 0.5, .entropy = true}, {key_of(0)});
  EXPECT_EQ(d.tokens[0], 1);
  EXPECT_NEAR(d.logprobs[0], at::log_softmax(logits, 0)[1].item<double>(), 1e-6);
  EXPECT_EQ(d.cut_mass[0], 0);
  EXPECT_EQ(kept_tokens(logits, {.temperature = 0}), std::vector<int64_t>{1});
}

TEST(Sampling, TokensOfProbabilityZeroAreNeverDrawn) {
  const float none = -std::numeric_limits<float>::infinity();
  const at::Tensor logits = at::tensor({none, 0.0f, none, -0.0f, none});
  int first = 0;
  for (uint64_t i = 0; i < 64; ++i) {
    const Draws d = sample_rows(logits.unsqueeze(0), {.entropy = true}, {key_of(i)});
    EXPECT_TRUE(d.tokens[0] == 1 || d.tokens[0] == 3);
    first += d.tokens[0] == 1;
    EXPECT_NEAR(d.entropies[0], std::log(2.0), 1e-6);
  }
  EXPECT_GT(first, 0);
  EXPECT_LT(first, 64);
  EXPECT_EQ(kept_tokens(logits, {.top_k = 1}), std::vector<int64_t>{1});  // -0 and +0 are equal: lower id
}

TEST(Sampling, BrokenLogitsAreAnErrorThatNamesTheRow) {
  for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()})
    for (int64_t column : {0, 16, 130}) {  // inside and outside whole vectors
      at::Tensor logits = at::zeros({3, 131});
      logits[2][column] = bad;
      try {
        sample_rows(logits, {}, {key_of(0), key_of(1), key_of(2)});
        FAIL();
      } catch (const NonFiniteLogits& e) {
        EXPECT_EQ(e.row(), 2);
        EXPECT_EQ(e.kind(), core::ErrorKind::kGuard);
      }
    }
}

TEST(SampleLoops, ExponentialsAreAccurateOverTheirRange) {
  std::vector<float> x, w(20001);
  for (int i = 0; i <= 20000; ++i) x.push_back(-static_cast<float>(i) * 0.0045f);
  std::vector<double> blocks(static_cast<size_t>(num_sample_blocks(20001)));
  exp_row(x.data(), 20001, 0.0f, 1.0f, w.data(), blocks.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = x[i] < -87 ? 0 : std::exp(static_cast<double>(x[i]));
    EXPECT_NEAR(w[i], exact, 3e-7 * exact) << x[i];
  }
}

TEST(SampleLoops, AreEqualBitForBitOnEveryInstructionSet) {
  // Run under each PAN_ISA (CMakeLists.txt); the constant came from the plain code.
  constexpr int64_t n = 5003;
  std::vector<float> x, w(n);
  for (int64_t i = 0; i < n; ++i) x.push_back(static_cast<float>(i * 7919 % 4001 - 4000) / 96.0f);
  std::vector<double> blocks(static_cast<size_t>(num_sample_blocks(n)));
  const RowSums sums = exp_row(x.data(), n, row_max(x.data(), n).max, 0.75f, w.data(), blocks.data());
  uint64_t hash = 1469598103934665603ull;  // FNV-1a over the bits of all results
  const auto add = [&](uint64_t bits) { hash = (hash ^ bits) * 1099511628211ull; };
  for (float f : w) add(std::bit_cast<uint32_t>(f));
  for (double d : blocks) add(std::bit_cast<uint64_t>(d));
  add(std::bit_cast<uint64_t>(sums.total));
  add(std::bit_cast<uint64_t>(sums.spread));
  add(std::bit_cast<uint64_t>(sum_blocks(w.data(), n, blocks.data())));
  EXPECT_EQ(hash, 828107760339344024ull);
}

}  // namespace
}  // namespace pan::rollout
