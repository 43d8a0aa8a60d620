// The glue between scores, rhythm and advantages: the multipliers of a tiny run against rhythm::shape_credit
// on series found again here, one sequence at a time and without scorer, flat layout or micro-batches.
#include "train/stages.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "rhythm/credit.h"
#include "train/tiny_run_fixture.h"

namespace pan::train {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

struct Series {
  std::vector<double> waad, fai, token_entropy;
};

Series series_of(const Session& s, const rl::TrainSequence& sequence) {
  const at::NoGradGuard no_grad;
  std::vector<kernels::LayerQk> layers;
  const model::AttentionTap tap{s.tap_layers, [&](const kernels::LayerQk& qk) { layers.push_back(qk); }};
  const at::Tensor hidden = s.policy->hidden(model::pack({sequence.tokens}, at::kCPU), &tap);
  const at::Tensor logits = at::matmul(hidden.to(at::kDouble), s.policy->output_weight().to(at::kDouble).t());
  const at::Tensor logp = logits.log_softmax(-1);
  const at::Tensor row_entropy = -(logp.exp() * logp).sum(-1);  // [N]
  Series out;
  out.token_entropy.assign(sequence.tokens.size(), kMissing);
  for (int64_t t = sequence.prompt_length; t < static_cast<int64_t>(sequence.tokens.size()); ++t)
    out.token_entropy[static_cast<size_t>(t)] = row_entropy[t - 1].item<double>();
  const rhythm::SequenceRhythm measured =
      rhythm::measure(layers, {0, static_cast<int64_t>(sequence.tokens.size())},
                      {rhythm::text_of(*s.tokenizer, sequence.tokens, sequence.prompt_length)},
                      s.state.groups, s.config.rhythm)
          .front();
  out.waad = measured.waad;
  out.fai = measured.fai;
  return out;
}

class StagesTest : public pan::testing::TinyRun {
 protected:
  // Rollout, scores and rhythm of iteration 1, so that sample ids do not begin at 0.
  void SetUp() override {
    session_ = open_session(pan::testing::tiny_config(model_, {"rhythm.lambda=0.3"}));
    const at::NoGradGuard no_grad;
    for (const auto& [name, p] : session_->policy->parameters())  // its distributions are flat otherwise
      if (p.dim() == 2) at::Tensor(p).mul_(5);
    it_.index = 1;
    run_rollout(*session_, it_, {});
    run_scoring(*session_, it_, {});
    run_rhythm(*session_, it_);
  }

  at::Tensor advantages_with(rhythm::Credit credit,
                             rhythm::CreditSelect select = rhythm::CreditSelect::kTop) {
    session_->config.rhythm.credit = credit;
    session_->config.rhythm.credit_select = select;
    run_advantages(*session_, it_);
    return it_.advantages.advantages.clone();
  }

  std::unique_ptr<Session> session_;
  Iteration it_;
};

TEST_F(StagesTest, CreditReachesTheTokensItWasMeasuredAt) {
  using rhythm::Credit;
  using rhythm::CreditSelect;
  const at::Tensor plain = advantages_with(Credit::kNone);
  ASSERT_EQ(it_.sequences.size(), 8u);
  std::vector<Series> series;
  for (const rl::TrainSequence& sequence : it_.sequences) series.push_back(series_of(*session_, sequence));
  const std::vector<std::pair<Credit, CreditSelect>> modes = {
      {Credit::kRandom, CreditSelect::kTop},          {Credit::kEntropy, CreditSelect::kTop},
      {Credit::kEntropy, CreditSelect::kBottom},      {Credit::kLocalChunk, CreditSelect::kTop},
      {Credit::kLocalChunk, CreditSelect::kBottom},   {Credit::kGlobalAnchor, CreditSelect::kTop},
      {Credit::kGlobalAnchor, CreditSelect::kBottom}, {Credit::kCoupled, CreditSelect::kTop}};
  for (const auto& [credit, select] : modes) {
    SCOPED_TRACE(static_cast<int>(credit) * 10 + static_cast<int>(select));
    const at::Tensor shaped = advantages_with(credit, select);
    std::vector<float> expected;
    double raised = 0;
    for (size_t i = 0; i < it_.sequences.size(); ++i) {
      const rl::TrainSequence& sequence = it_.sequences[i];
      const rhythm::CreditResult r =
          rhythm::shape_credit({.prompt_length = sequence.prompt_length,
                                .num_tokens = static_cast<int64_t>(sequence.tokens.size()),
                                .waad = series[i].waad,
                                .fai = series[i].fai,
                                .token_entropy = series[i].token_entropy,
                                .seed = 3,                          // of tiny_config
                                .sample_id = 1 * 8 + uint64_t(i)},  // iteration 1 of 8 samples each
                               session_->config.rhythm);
      for (double g : r.gamma) expected.push_back(static_cast<float>(g)), raised += g > 1;
    }
    EXPECT_GT(raised, 20);
    const at::Tensor gamma = at::tensor(expected);
    ASSERT_EQ(gamma.sizes(), plain.sizes());
    EXPECT_TRUE(at::equal(shaped, plain * gamma)) << "first at " << (shaped != plain * gamma).nonzero()[0];
  }
  EXPECT_EQ((plain == 0).sum().item<int64_t>(), 0);  // every multiplier can be seen
}

TEST_F(StagesTest, CreditNeedsNoRhythmReward) {
  using rhythm::Credit;
  session_->config.rhythm.lambda = 0;
  run_rhythm(*session_, it_);
  const at::Tensor plain = advantages_with(Credit::kNone), shaped = advantages_with(Credit::kCoupled);
  EXPECT_FALSE(at::equal(plain, shaped));
  session_->config.rhythm.lambda = 0.3;
  run_rhythm(*session_, it_);
  EXPECT_FALSE(at::equal(plain, advantages_with(Credit::kNone)));
  EXPECT_FALSE(at::equal(shaped, advantages_with(Credit::kCoupled)));
}

}  // namespace
}  // namespace pan::train
