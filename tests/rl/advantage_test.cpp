#include "rl/advantage.h"

#include "core/error.h"
#include "reference.h"

namespace pan::rl {
namespace {

Estimator estimator_of(const std::string& name) {
  if (name == "gae") return Estimator::kGae;
  if (name == "grpo") return Estimator::kGrpo;
  if (name == "dr_grpo") return Estimator::kDrGrpo;
  if (name == "rloo") return Estimator::kRloo;
  if (name == "reinforce_plus_plus") return Estimator::kReinforcePlusPlus;
  return Estimator::kReinforcePlusPlusBaseline;
}

KlEstimator kl_of(const std::string& name) {
  if (name == "k2") return KlEstimator::kK2;
  if (name == "k3") return KlEstimator::kK3;
  return name == "abs" ? KlEstimator::kAbs : KlEstimator::kK1;
}

// The fixture's iteration of 8 answers.
struct Iteration {
  std::vector<TrainSequence> sequences;
  ScoredBatch scored;
  std::vector<double> task;
  at::Tensor rhythm, credit;
  int64_t limit;

  Iteration() {
    const core::Json& b = reference()["batch"];
    const auto lengths = b["lengths"].get<std::vector<int64_t>>();
    for (size_t i = 0; i < lengths.size(); ++i)
      sequences.push_back({.id = static_cast<int64_t>(i),
                           .group = b["group"][i].get<int64_t>(),
                           .tokens = std::vector<int64_t>(static_cast<size_t>(lengths[i] + 2), 1),
                           .prompt_length = 2,
                           .truncated = b["truncated"][i].get<bool>(),
                           .sampler_logprobs = {}});
    scored.offsets = response_offsets(sequences);
    scored.logprobs = floats(b["logprobs"]);
    scored.reference_logprobs = floats(b["reference"]);
    scored.values = floats(b["values"]);
    task = doubles(b["task"]);
    rhythm = float64(b["rhythm"]);
    credit = floats(b["credit"]);
    limit = b["limit"].get<int64_t>();
  }
  RewardInput input() const { return {sequences, scored, task, {}, {}}; }
};

RlConfig config_of(const core::Json& c) {
  RlConfig config;
  config.advantage.estimator = estimator_of(c["estimator"].get<std::string>());
  config.advantage.gamma = c["gamma"].get<double>();
  config.advantage.lambda = c["lambda"].get<double>();
  config.advantage.whiten = c.value("whiten", true);
  config.advantage.missing_eos_penalty = c.value("missing_eos_penalty", 0.0);
  config.advantage.overlong_buffer_tokens = c.value("overlong_buffer_tokens", int64_t{0});
  config.advantage.overlong_penalty = c.value("overlong_penalty", 1.0);
  config.advantage.mask_truncated = c.value("mask_truncated", false);
  config.kl.coefficient = c["kl"].get<double>();
  config.kl.in = KlPlace::kReward;
  config.kl.estimator = kl_of(c.value("kl_estimator", std::string("k1")));
  return config;
}

TEST(Advantages, MatchTheReferenceForEveryEstimator) {
  const Iteration it;
  for (const core::Json& c : reference()["advantages"]) {
    const std::string name = c["config"].dump();
    const RlConfig config = config_of(c["config"]);
    RewardInput in = it.input();
    if (c["config"]["rhythm"].get<bool>()) in.rhythm = it.rhythm;
    if (c["config"]["credit"].get<bool>()) in.credit = it.credit;
    const Advantages a = compute_advantages(in, config, config.kl.coefficient, it.limit);
    const core::Json& expected = c["expected"];
    expect_close(a.advantages, float64(expected["advantages"]), 1e-6, name);
    EXPECT_EQ(a.trained, expected["trained"].get<std::vector<uint8_t>>()) << name;
    EXPECT_NEAR(a.kl, expected["kl_mean"].get<double>(), 1e-9) << name;
    ASSERT_EQ(a.returns.defined(), !expected["returns"].is_null()) << name;
    if (!a.returns.defined()) continue;
    // Targets of answers that are left out are never read.
    for (size_t i = 0; i < a.trained.size(); ++i)
      if (a.trained[i])
        expect_close(a.returns.slice(0, it.scored.offsets[i], it.scored.offsets[i + 1]),
                     float64(expected["returns"]).slice(0, it.scored.offsets[i], it.scored.offsets[i + 1]),
                     1e-6, name);
    EXPECT_NEAR(a.metrics.at("critic/vf_explained_var"), expected["explained"].get<double>(), 1e-9) << name;
  }
}

TEST(Advantages, PartsOfTaskAndRhythmAddUpBeforeWhitening) {
  const Iteration it;
  RlConfig config;
  config.advantage.whiten = false;
  RewardInput in = it.input();
  const Advantages without = compute_advantages(in, config, 0, it.limit);
  in.rhythm = it.rhythm;
  const Advantages with = compute_advantages(in, config, 0, it.limit);
  const at::Tensor part = with.advantages - without.advantages;
  EXPECT_NEAR(with.metrics.at("rhythm/advantage_std/rhythm"), part.std(/*unbiased=*/false).item<double>(),
              1e-6);
  EXPECT_NEAR(with.metrics.at("rhythm/advantage_std/task"), without.advantages.std(false).item<double>(),
              1e-6);
  EXPECT_EQ(without.metrics.at("rhythm/advantage_std/rhythm"), 0.0);
}

// rhythm.md section 7: at lambda = 0 nothing is added, so payments that are NaN or -0 cannot matter.
TEST(Advantages, NoPaymentsMeansNoAddition) {
  const Iteration it;
  RlConfig config;
  for (Estimator e : {Estimator::kGae, Estimator::kGrpo, Estimator::kRloo, Estimator::kReinforcePlusPlus}) {
    config.advantage.estimator = e;
    RewardInput in = it.input();
    const Advantages off = compute_advantages(in, config, 0.001, it.limit);
    in.rhythm = at::zeros_like(it.rhythm);
    const Advantages zeros = compute_advantages(in, config, 0.001, it.limit);
    EXPECT_TRUE(same_bits(off.advantages, zeros.advantages));
    in.rhythm = at::full_like(it.rhythm, NAN);
    EXPECT_TRUE(compute_advantages(in, config, 0.001, it.limit).advantages.isnan().any().item<bool>());
  }
}

TEST(Advantages, CreditLeavesValueTargetsAlone) {
  const Iteration it;
  RewardInput in = it.input();
  const Advantages plain = compute_advantages(in, {}, 0, it.limit);
  in.credit = it.credit;
  const Advantages shaped = compute_advantages(in, {}, 0, it.limit);
  EXPECT_TRUE(same_bits(plain.returns, shaped.returns));
  EXPECT_TRUE(same_bits(plain.advantages * it.credit, shaped.advantages));
}

TEST(Advantages, GroupEstimatorsRefuseASingleAnswer) {
  const Iteration it;
  RlConfig config;
  config.advantage.estimator = Estimator::kRloo;
  std::vector<TrainSequence> alone = it.sequences;
  alone[0].group = 77;
  EXPECT_THROW(compute_advantages({alone, it.scored, it.task, {}, {}}, config, 0, it.limit), core::Error);
}

TEST(Advantages, TruncatedAndFinishedAnswersDiffer) {
  Iteration it;
  RlConfig config;
  config.advantage.whiten = false;
  config.advantage.missing_eos_penalty = 0.5;
  it.sequences[0].truncated = false;
  const Advantages finished = compute_advantages(it.input(), config, 0, it.limit);
  it.sequences[0].truncated = true;
  const Advantages cut = compute_advantages(it.input(), config, 0, it.limit);
  const int64_t last = it.scored.offsets[1] - 1;
  EXPECT_NEAR((finished.advantages[last] - cut.advantages[last]).item<double>(), 0.5, 1e-6);
  EXPECT_TRUE(same_bits(finished.advantages.slice(0, last + 1), cut.advantages.slice(0, last + 1)));
}

// The cases of the rhythm's own oracle, written from rhythm.md by somebody else.
struct RhythmCase {
  std::vector<TrainSequence> sequences;
  std::vector<double> task;
  at::Tensor payments;  // undefined where there is none
  ScoredBatch scored;
  RlConfig config;

  explicit RhythmCase(const core::Json& c) {
    std::vector<double> values, paid;
    bool any = false;
    for (const core::Json& row : c["rows"]) {
      const auto prompt = row["prompt"].get<int64_t>();
      sequences.push_back({.id = static_cast<int64_t>(sequences.size()),
                           .group = row["group"].get<int64_t>(),
                           .tokens = std::vector<int64_t>(row["num_tokens"].get<size_t>(), 1),
                           .prompt_length = prompt,
                           .truncated = false,
                           .sampler_logprobs = {}});
      task.push_back(row["task_reward"].get<double>());
      const size_t begin = values.size();
      for (double v : doubles(row["values"])) values.push_back(v);
      paid.resize(values.size(), 0.0);
      for (const core::Json& p : row["payments"]) {
        paid[begin + static_cast<size_t>(p[0].get<int64_t>() - prompt)] += p[1].get<double>();
        any = true;
      }
    }
    if (any) payments = at::tensor(paid, at::kDouble);
    scored.offsets = response_offsets(sequences);
    scored.logprobs = at::zeros({scored.num_tokens()});
    scored.values = at::tensor(values, at::kDouble).to(at::kFloat);
    config.kl.in = KlPlace::kNone;
    config.advantage.lambda = c["lambda_gae"].get<double>();
    config.advantage.gamma = c["discount"].get<double>();
  }
  Advantages advantages(const at::Tensor& credit = {}) const {
    return compute_advantages({sequences, scored, task, payments, credit}, config, 0, 512);
  }
};

core::Json rhythm_cases() {
  return core::read_json_file(testing::fixture("rhythm") + "/advantage.json")["cases"];
}

// Lists of a case, one a row, end to end.
at::Tensor joined(const core::Json& rows) {
  std::vector<double> out;
  for (const core::Json& row : rows)
    for (double x : doubles(row)) out.push_back(x);
  return at::tensor(out, at::kDouble);
}

TEST(Advantages, MatchTheRhythmOracle) {
  for (const core::Json& c : rhythm_cases()) {
    RhythmCase mine(c);
    const std::string name = c["name"];
    core::Json raw, returns;
    for (const core::Json& row : c["rows"]) raw.push_back(row["gae"]), returns.push_back(row["returns"]);
    mine.config.advantage.whiten = false;
    expect_close(mine.advantages().advantages, joined(raw), 1e-6, name + ", gae");
    expect_close(mine.advantages().returns, joined(returns), 1e-6, name + ", returns");
    mine.config.advantage.whiten = true;
    EXPECT_EQ(c["estimates"].size(), 6u);
    for (const auto& [estimator, rows] : c["estimates"].items()) {
      mine.config.advantage.estimator = estimator_of(estimator);
      expect_close(mine.advantages().advantages, joined(rows), 1e-6, name + ", " + estimator);
    }
  }
}

// Every credit mode on every estimator, with the rhythm reward and without it.
TEST(Advantages, CreditMatchesTheRhythmOracleOnEveryEstimator) {
  for (const core::Json& c : rhythm_cases())
    for (const core::Json& credit : c["credit"]) {
      RhythmCase mine(c);
      const at::Tensor gamma = joined(credit["gamma"]).to(at::kFloat);
      EXPECT_EQ(credit["shaped"].size(), 6u);
      for (const auto& [estimator, rows] : credit["shaped"].items()) {
        mine.config.advantage.estimator = estimator_of(estimator);
        expect_close(mine.advantages(gamma).advantages, joined(rows), 1e-6,
                     c["name"].dump() + credit["credit"].dump() + estimator);
      }
    }
}

TEST(Whiten, GivesZeroMeanAndUnitVarianceOverTrainedTokens) {
  std::vector<double> x = {1, 2, 3, 4, 100, 200, 5};
  whiten(x, {0, 2, 4, 6, 7}, {1, 1, 0, 1});
  double sum = 0, square = 0;
  for (size_t t : {0, 1, 2, 3, 6}) sum += x[t], square += x[t] * x[t];
  EXPECT_NEAR(sum, 0, 1e-12);
  EXPECT_NEAR(square / 4, 1, 1e-7);
  EXPECT_EQ(x[4], 0);
  EXPECT_EQ(x[5], 0);
}

}  // namespace
}  // namespace pan::rl
