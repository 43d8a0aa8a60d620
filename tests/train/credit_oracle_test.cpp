// Rhythm reward and credit together, from measured series to shaped advantages, against the figures of
// tests/fixtures/rhythm: every credit mode on every estimator.
#include <gtest/gtest.h>

#include <algorithm>

#include "rhythm/credit.h"
#include "rhythm/fixture.h"
#include "rl/advantage.h"

namespace pan::train {
namespace {

using core::Json;
using rhythm::testing::expected_sequence;
using rhythm::testing::integers;
using rhythm::testing::numbers;
using rhythm::testing::the_fixture;

template <class T>
T named(const std::string& name, const std::vector<std::pair<std::string, T>>& values) {
  for (const auto& [text, value] : values)
    if (text == name) return value;
  throw std::runtime_error("the fixture has an unknown name: " + name);
}

rl::Estimator estimator_of(const std::string& name) {
  return named<rl::Estimator>(name,
                              {{"gae", rl::Estimator::kGae},
                               {"grpo", rl::Estimator::kGrpo},
                               {"dr_grpo", rl::Estimator::kDrGrpo},
                               {"rloo", rl::Estimator::kRloo},
                               {"reinforce_plus_plus", rl::Estimator::kReinforcePlusPlus},
                               {"reinforce_plus_plus_baseline", rl::Estimator::kReinforcePlusPlusBaseline}});
}

rhythm::Credit credit_of(const std::string& name) {
  return named<rhythm::Credit>(name, {{"none", rhythm::Credit::kNone},
                                      {"random", rhythm::Credit::kRandom},
                                      {"entropy", rhythm::Credit::kEntropy},
                                      {"local_chunk", rhythm::Credit::kLocalChunk},
                                      {"global_anchor", rhythm::Credit::kGlobalAnchor},
                                      {"coupled", rhythm::Credit::kCoupled}});
}

// The payments of the case's batch: the run's batches in order, so that the moments are those of the run.
rhythm::RewardResult rewards_of(const Json& c) {
  const Json& f = the_fixture().json;
  const std::string name = c["name"];
  for (const Json& run : f["runs"]) {
    if (run["name"] != name) continue;
    rhythm::RhythmConfig config;
    config.form = run["config"]["form"] == "level" ? rhythm::Form::kLevel : rhythm::Form::kContrast;
    config.lambda = run["config"]["lambda"];
    const Json& cap = run["config"]["cap"];
    config.cap = cap.is_null() ? std::nullopt : std::optional(cap.get<double>());
    rhythm::RhythmMoments moments;
    rhythm::RewardResult result;
    for (int64_t b = 0; b <= c["batch"].get<int64_t>(); ++b) {
      const Json& batch = run["batches"][static_cast<size_t>(b)];
      std::vector<rhythm::SequenceRhythm> sequences;
      std::vector<rhythm::Outcome> outcomes;
      for (int64_t i : integers(batch["sequences"]))
        sequences.push_back(expected_sequence(f["measured"][batch["source"].get<std::string>()][i]));
      for (const Json& cut : batch["truncated"])
        outcomes.push_back({.truncated = cut == 1, .correct = false});
      result = rhythm::reward_batch(sequences, outcomes, config, moments);
    }
    return result;
  }
  throw std::runtime_error("the fixture has no run " + name);
}

struct Case {
  std::vector<rl::TrainSequence> sequences;
  std::vector<double> task;
  rl::ScoredBatch scored;
  at::Tensor payments;  // undefined with lambda = 0

  explicit Case(const Json& c) {
    std::vector<double> values;
    for (const Json& row : c["rows"]) {
      sequences.push_back({.id = 0,
                           .group = row["group"].get<int64_t>(),
                           .tokens = std::vector<int64_t>(row["num_tokens"].get<size_t>(), 1),
                           .prompt_length = row["prompt"].get<int64_t>(),
                           .truncated = false,
                           .sampler_logprobs = {}});
      task.push_back(row["task_reward"].get<double>());
      for (double v : numbers(row["values"])) values.push_back(v);
    }
    scored.offsets = rl::response_offsets(sequences);
    scored.logprobs = at::zeros({scored.num_tokens()});
    scored.values = at::tensor(values, at::kDouble).to(at::kFloat);
    const rhythm::RewardResult rewards = rewards_of(c);
    if (c["name"] == "lambda 0") return;
    payments = at::zeros({scored.num_tokens()}, at::kDouble);
    for (size_t i = 0; i < sequences.size(); ++i)
      for (const rhythm::Payment& p : rewards.sequences[c["rows"][i]["slot"].get<size_t>()].payments)
        payments[scored.offsets[i] + p.position - sequences[i].prompt_length] += p.amount;
  }

  at::Tensor multipliers(const Json& c, const Json& credit) const {
    rhythm::RhythmConfig config;
    config.credit = credit_of(credit["credit"]);
    if (credit["credit_select"] == "bottom") config.credit_select = rhythm::CreditSelect::kBottom;
    std::vector<double> gamma;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const auto index = c["rows"][i]["sequence"].get<size_t>();
      const auto measured = expected_sequence(the_fixture().json["measured"]["newline"][index]);
      const auto one = rhythm::shape_credit({.prompt_length = measured.prompt_length,
                                             .num_tokens = measured.num_tokens,
                                             .waad = measured.waad,
                                             .fai = measured.fai,
                                             .token_entropy = the_fixture().token_entropy[index],
                                             .seed = credit["seed"],
                                             .sample_id = credit["sample_ids"][i]},
                                            config);
      gamma.insert(gamma.end(), one.gamma.begin(), one.gamma.end());
    }
    return at::tensor(gamma, at::kDouble).to(at::kFloat);
  }
};

at::Tensor joined(const Json& rows) {
  std::vector<double> out;
  for (const Json& row : rows)
    for (double x : numbers(row)) out.push_back(x);
  return at::tensor(out, at::kDouble);
}

TEST(CreditOracle, RewardAndCreditTogetherOnEveryEstimator) {
  const Json fixture = core::read_json_file(pan::testing::fixture("rhythm") + "/advantage.json");
  size_t compared = 0, paid = 0;
  for (const Json& c : fixture["cases"]) {
    const Case mine(c);
    paid += mine.payments.defined() && mine.payments.abs().max().item<double>() > 0.01;
    for (const Json& credit : c["credit"]) {
      const at::Tensor gamma = mine.multipliers(c, credit);
      for (const auto& [estimator, rows] : credit["shaped"].items()) {
        SCOPED_TRACE(c["name"].dump() + ", " + credit["credit"].dump() + credit["credit_select"].dump() +
                     ", " + estimator);
        rl::RlConfig config;
        config.kl.in = rl::KlPlace::kNone;
        config.advantage.estimator = estimator_of(estimator);
        const rl::Advantages a = rl::compute_advantages(
            {mine.sequences, mine.scored, mine.task, mine.payments, gamma}, config, 0, 512);
        const at::Tensor expected = joined(rows);
        ASSERT_EQ(a.advantages.sizes(), expected.sizes());
        EXPECT_LE((a.advantages.to(at::kDouble) - expected).abs().max().item<double>(),
                  1e-6 * std::max(1.0, expected.abs().max().item<double>()));
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 6u * (9 + 1 + 9));
  EXPECT_EQ(paid, 2u);
}

}  // namespace
}  // namespace pan::train
