#include "rl/update.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "metrics/catalog.h"
#include "reference.h"
#include "rl/forward.h"
#include "tiny.h"

namespace pan::rl {
namespace {

std::vector<double> some_rewards(size_t n) {
  std::vector<double> out;
  for (size_t i = 0; i < n; ++i) out.push_back(i % 3 == 0 ? 1.0 : i % 4 == 0 ? 0.5 : 0.0);
  return out;
}

at::Tensor flat(const model::NamedTensors& tensors) {
  std::vector<at::Tensor> parts;
  for (const auto& [name, t] : tensors) parts.push_back(t.detach().to(at::kFloat).reshape(-1));
  return at::cat(parts).clone();
}

UpdateResult run(Updater& updater, const std::vector<TrainSequence>& s, const Iteration& it,
                 int64_t iteration = 0) {
  return updater.update({s, it.scored, it.advantages, it.plan, iteration, 0.05});
}

TEST(Scorer, GivesTheUntruncatedSoftmaxOfTheRowBefore) {
  Tiny tiny(3);
  tiny.options.temperature = 0.7;
  const auto s = random_sequences(12, 1);
  {
    const at::NoGradGuard no_grad;
    tiny.head.weight.normal_();
    tiny.head.bias.fill_(0.25);
  }
  const Iteration it = prepare(tiny, s, some_rewards(12), 5, 0);
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < s.size(); ++i) {
    const model::Batch one = model::pack({s[i].tokens}, at::kCPU);
    const auto rows = [&](const model::Decoder& d) {
      return d.hidden(one).narrow(0, s[i].prompt_length - 1, s[i].response_length());
    };
    const auto log_softmax = [&](const model::Decoder& d) {
      return (at::matmul(rows(d).to(at::kDouble), d.output_weight().to(at::kDouble).t()) / 0.7)
          .log_softmax(-1);
    };
    const at::Tensor targets = one.tokens.narrow(0, s[i].prompt_length, s[i].response_length()).unsqueeze(1);
    const auto mine = [&](const at::Tensor& flat_tensor) {
      return flat_tensor.slice(0, it.scored.offsets[i], it.scored.offsets[i + 1]);
    };
    const at::Tensor p = log_softmax(*tiny.policy);
    expect_close(mine(it.scored.logprobs), p.gather(1, targets).squeeze(1), 1e-5, "logprobs");
    expect_close(mine(it.scored.entropy), -(p.exp() * p).sum(-1), 1e-5, "entropy");
    expect_close(mine(it.scored.reference_logprobs),
                 log_softmax(*tiny.reference).gather(1, targets).squeeze(1), 1e-5, "reference");
    const at::Tensor v = at::matmul(rows(*tiny.critic), tiny.head.weight.t()).squeeze(1) + tiny.head.bias;
    expect_close(mine(it.scored.values), v, 1e-5, "values");
  }
}

TEST(Scorer, HandsTheTapToTheVisitorAndChangesNothing) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(c10::toString(type));
    Tiny tiny(4, type);
    const auto s = random_sequences(12, 2);
    tiny.config.ppo.micro_batch_tokens = 40;
    const UpdatePlan plan = plan_update(s, tiny.config.ppo, 1, 0);
    const Scorer scorer(tiny.models(), {});
    const ScoredBatch plain = scorer.score(s, plan.scoring());
    std::vector<int64_t> seen;
    const ScoredBatch tapped = scorer.score(s, plan.scoring(), {0, 1}, [&](const Capture& c) {
      ASSERT_EQ(c.layers.size(), 2u);
      EXPECT_EQ(c.layers[1].layer, 1);
      EXPECT_EQ(c.layers[0].q.size(0), c.batch.num_tokens());
      ASSERT_EQ(c.batch.num_sequences(), static_cast<int64_t>(c.sequences.size()));
      for (size_t k = 0; k < c.sequences.size(); ++k) {
        const TrainSequence& x = c.all[static_cast<size_t>(c.sequences[k])];
        EXPECT_EQ(c.batch.cu_seqlens[k + 1] - c.batch.cu_seqlens[k], static_cast<int64_t>(x.tokens.size()));
        seen.push_back(x.id);
      }
    });
    EXPECT_EQ(seen.size(), 12u);
    EXPECT_TRUE(same_bits(plain.logprobs, tapped.logprobs));
    EXPECT_TRUE(same_bits(plain.entropy, tapped.entropy));
    EXPECT_TRUE(same_bits(plain.values, tapped.values));
  }
}

TEST(Scorer, NamesTheSequenceWhoseScoreIsNotFinite) {
  Tiny tiny(4);
  const auto s = random_sequences(12, 2);
  const UpdatePlan plan = plan_update(s, tiny.config.ppo, 1, 0);
  tiny.head.bias.data_ptr<float>()[0] = NAN;
  try {
    Scorer(tiny.models(), {}).score(s, plan.scoring());
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::kGuard);
    EXPECT_EQ(e.pointer_text(), "values of the critic");
    EXPECT_EQ(e.where_text(), "sequence 0");
  }
}

TEST(Scorer, MismatchIsZeroForItsOwnLogprobsAndMeasuredOtherwise) {
  Tiny tiny(4);
  auto s = random_sequences(12, 2);
  const ScoredBatch scored =
      Scorer(tiny.models(), {}).score(s, plan_update(s, tiny.config.ppo, 1, 0).scoring());
  EXPECT_TRUE(sampler_mismatch(s, scored).empty());
  for (size_t i = 0; i < s.size(); ++i) {
    const float* p = scored.logprobs.const_data_ptr<float>();
    s[i].sampler_logprobs.assign(p + scored.offsets[i], p + scored.offsets[i + 1]);
  }
  Metrics m = sampler_mismatch(s, scored);
  EXPECT_EQ(m.at("training/rollout_probs_diff_max"), 0);
  EXPECT_NEAR(m.at("training/rollout_actor_probs_pearson_corr"), 1, 1e-12);
  EXPECT_NEAR(m.at("rollout_corr/ess"), 1, 1e-12);
  for (TrainSequence& x : s)
    for (float& p : x.sampler_logprobs) p -= 0.5f;
  m = sampler_mismatch(s, scored);
  EXPECT_NEAR(m.at("rollout_corr/kl"), -0.5, 1e-6);
  EXPECT_NEAR(m.at("rollout_corr/ratio_mean"), std::exp(0.5), 1e-6);
  EXPECT_NEAR(m.at("rollout_corr/k3_kl"), std::exp(0.5) - 1.5, 1e-6);
}

TEST(Forward, TrainsOnEveryResponseTokenWithEndOfTextAndOnNoPromptToken) {
  const std::vector<TrainSequence> s = {
      {.id = 0,
       .group = 0,
       .tokens = {7, 8, 9, kEnd},
       .prompt_length = 2,
       .truncated = false,
       .sampler_logprobs = {}},
      {.id = 1, .group = 0, .tokens = {5, 6}, .prompt_length = 1, .truncated = true, .sampler_logprobs = {}}};
  const PackedRows p = pack_rows(s, {1, 0}, at::kCPU);
  EXPECT_TRUE(at::equal(p.targets, at::tensor(std::vector<int64_t>{6, 9, kEnd})));
  EXPECT_TRUE(at::equal(p.rows, at::tensor(std::vector<int64_t>{0, 3, 4})));
  EXPECT_EQ(p.offsets, (std::vector<int64_t>{0, 1, 3}));
}

TEST(Update, FirstMinibatchRatioIsExactlyOne) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Tiny tiny(5, type);
    tiny.config.ppo.minibatch_size = 6;
    tiny.config.ppo.micro_batch_tokens = 30;
    const auto s = random_sequences(24, 3);
    const Iteration it = prepare(tiny, s, some_rewards(24), 9, 0);
    UpdatePlan first = it.plan;  // the first minibatch alone: its ratios are all there are
    first.epochs[0].resize(1);
    Updater updater(tiny.models(), tiny.config, tiny.options);
    const UpdateResult r = updater.update({s, it.scored, it.advantages, first, 0, 0});
    EXPECT_EQ(r.metrics.at("actor/first_ratio_error"), 0.0);
    EXPECT_EQ(r.metrics.at("actor/ratio_max"), 1.0);
    EXPECT_EQ(r.metrics.at("actor/ratio_min"), 1.0);
    EXPECT_EQ(r.metrics.at("actor/ppo_kl"), 0.0);
    EXPECT_EQ(r.metrics.at("actor/pg_clipfrac"), 0.0);
  }
}

TEST(Update, RatioIsOneWithinRoundingForAnotherMicroBatchComposition) {
  Tiny tiny(5);
  const auto s = random_sequences(12, 3);
  Iteration it = prepare(tiny, s, some_rewards(12), 9, 0);
  std::vector<int64_t> order(12), reversed;
  std::iota(order.begin(), order.end(), int64_t{0});
  reversed.assign(order.rbegin(), order.rend());
  // Each answer alone, some together, all together; from either end.
  for (const Minibatch& m :
       {cut_micro_batches(s, order, 1), cut_micro_batches(s, order, 37), cut_micro_batches(s, order, 100000),
        cut_micro_batches(s, reversed, 23), cut_micro_batches(s, reversed, 100000)}) {
    Tiny fresh(5);
    it.plan.epochs = {{m}};
    Updater updater(fresh.models(), fresh.config, fresh.options);
    const auto metrics = run(updater, s, it).metrics;
    EXPECT_LE(metrics.at("actor/ratio_max"), 1 + 1e-5) << m.size();
    EXPECT_GE(metrics.at("actor/ratio_min"), 1 - 1e-5) << m.size();
    EXPECT_LE(metrics.at("actor/first_ratio_error"), 1e-5) << m.size();
  }
}

struct Gradients {
  at::Tensor policy, critic;  // critic: undefined with a shared trunk or without a critic
};

// beta1 = 0 leaves the gradient itself in exp_avg.
Gradients both_gradients(Tiny& tiny, const std::vector<TrainSequence>& s, const Iteration& it,
                         const Minibatch& minibatch) {
  Tiny copy(5);
  copy.config = tiny.config;
  copy.options = tiny.options;
  for (OptimizerConfig* o : {&copy.config.optimizer, &copy.config.critic_optimizer}) {
    o->beta1 = 0;
    o->grad_clip.reset();
  }
  Updater updater(copy.models(), copy.config, copy.options);
  Iteration mine = it;
  mine.plan.epochs = {{minibatch}};
  run(updater, s, mine);
  const auto of = [](Optimizer* o) -> at::Tensor {
    model::NamedTensors g;
    if (o)
      for (const auto& [name, t] : o->state_tensors())
        if (name.starts_with("exp_avg.")) g.emplace_back(name, t);
    return g.empty() ? at::Tensor() : flat(g);
  };
  return {of(&updater.policy_optimizer()), of(updater.critic_optimizer())};
}

at::Tensor gradients_with(Tiny& tiny, const std::vector<TrainSequence>& s, const Iteration& it,
                          const Minibatch& minibatch) {
  const Gradients g = both_gradients(tiny, s, it, minibatch);
  return g.critic.defined() ? at::cat({g.policy, g.critic}) : g.policy;
}

void expect_within(const at::Tensor& got, const at::Tensor& expected, double share, const std::string& what) {
  ASSERT_EQ(got.defined(), expected.defined()) << what;
  if (!got.defined()) return;
  const double largest = expected.abs().max().item<double>();
  EXPECT_GT(largest, 1e-4) << what;
  EXPECT_LE((got - expected).abs().max().item<double>(), share * largest) << what;
}

TEST(Update, GradientsDoNotDependOnTheMicroBatchSplitOrOrder) {
  const auto s = random_sequences(12, 4);
  std::vector<int64_t> order(12), reversed;
  std::iota(order.begin(), order.end(), int64_t{0});
  reversed.assign(order.rbegin(), order.rend());
  struct Case {
    Aggregation aggregation;
    PolicyLoss loss;
  };
  for (const Case& c : {Case{Aggregation::kTokenMean, PolicyLoss::kClip},
                        {Aggregation::kSeqMeanTokenSum, PolicyLoss::kClip},
                        {Aggregation::kSeqMeanTokenMean, PolicyLoss::kClip},
                        {Aggregation::kSeqMeanTokenSumNorm, PolicyLoss::kClip},
                        {Aggregation::kSeqMeanTokenMean, PolicyLoss::kGspo},
                        {Aggregation::kTokenMean, PolicyLoss::kCispo}})
    for (CriticMode mode : {CriticMode::kSeparate, CriticMode::kShared}) {
      Tiny tiny(5);
      tiny.config.ppo.aggregation = c.aggregation;
      tiny.config.ppo.policy_loss = c.loss;
      tiny.config.critic.mode = mode;
      tiny.config.kl.in = KlPlace::kLoss;
      tiny.config.ppo.entropy_coefficient = 0.01;
      tiny.config.advantage.mask_truncated = true;
      const Iteration it = prepare(tiny, s, some_rewards(12), 9, 0);
      const Gradients whole = both_gradients(tiny, s, it, cut_micro_batches(s, order, 100000));
      for (const Minibatch& m :
           {cut_micro_batches(s, order, 1), cut_micro_batches(s, order, 37),
            cut_micro_batches(s, reversed, 23), cut_micro_batches(s, reversed, 100000)}) {
        const std::string what = " of loss " + std::to_string(static_cast<int>(c.loss)) + ", aggregation " +
                                 std::to_string(static_cast<int>(c.aggregation));
        const Gradients split = both_gradients(tiny, s, it, m);
        expect_within(split.policy, whole.policy, 1e-5, "policy" + what);
        expect_within(split.critic, whole.critic, 1e-5, "critic" + what);
      }
    }
}

TEST(Update, MaskedAnswersTakeNoPart) {
  const auto s = random_sequences(12, 4);
  Tiny tiny(5);
  tiny.config.advantage.mask_truncated = true;
  const Iteration it = prepare(tiny, s, some_rewards(12), 9, 0);
  std::vector<int64_t> all(12), finished;
  std::iota(all.begin(), all.end(), int64_t{0});
  for (int64_t i : all)
    if (!s[static_cast<size_t>(i)].truncated) finished.push_back(i);
  ASSERT_LT(finished.size(), all.size());
  const at::Tensor with = gradients_with(tiny, s, it, cut_micro_batches(s, all, 1));
  const at::Tensor without = gradients_with(tiny, s, it, cut_micro_batches(s, finished, 1));
  EXPECT_TRUE(same_bits(with, without));
}

TEST(Update, SkipsStepsThatAreNotFiniteAndNamesTheCause) {
  const auto s = random_sequences(24, 6);
  Tiny tiny(6);
  tiny.options.max_bad_steps = 2;
  tiny.config.kl.coefficient = 0;
  Iteration it = prepare(tiny, s, some_rewards(24), 9, 0);
  it.advantages.advantages[3] = NAN;
  Updater updater(tiny.models(), tiny.config, tiny.options);
  const at::Tensor before = flat(tiny.policy->parameters());
  Iteration only = it;  // the minibatch that holds the NaN, alone
  const auto holds = [&](const Minibatch& m) {
    for (const MicroBatch& micro : m)
      for (int64_t i : micro)
        if (it.scored.offsets[static_cast<size_t>(i)] <= 3 &&
            3 < it.scored.offsets[static_cast<size_t>(i) + 1])
          return true;
    return false;
  };
  auto& epoch = only.plan.epochs[0];
  epoch.erase(std::remove_if(epoch.begin(), epoch.end(), [&](const Minibatch& m) { return !holds(m); }),
              epoch.end());
  UpdateResult r = run(updater, s, only);
  EXPECT_EQ(r.first_bad, "advantages");
  EXPECT_FALSE(r.bad);
  EXPECT_EQ(r.metrics.at("actor/skipped_steps"), 1);
  EXPECT_EQ(r.metrics.at("critic/skipped_steps"), 0);
  EXPECT_TRUE(same_bits(before, flat(tiny.policy->parameters())));
  r = run(updater, s, only);
  EXPECT_TRUE(r.bad);
  EXPECT_EQ(updater.policy_optimizer().skipped(), 2);
}

TEST(Update, NamesAParameterThatIsNotFinite) {
  const auto s = random_sequences(12, 6);
  Tiny tiny(6);
  const Iteration it = prepare(tiny, s, some_rewards(12), 9, 0);
  Updater updater(tiny.models(), tiny.config, tiny.options);
  {
    const at::NoGradGuard no_grad;
    at::Tensor(tiny.policy->parameters().back().second).view(-1)[0] = INFINITY;
  }
  EXPECT_EQ(run(updater, s, it).first_bad, "parameter " + tiny.policy->parameters().back().first);
}

TEST(Update, StopsAtTheTargetKlBeforeTakingTheStep) {
  const auto s = random_sequences(24, 7);
  Tiny tiny(7);
  tiny.config.ppo.epochs = 4;
  tiny.config.optimizer.lr = 0.02;
  tiny.config.ppo.target_kl = 1e-3;
  const Iteration it = prepare(tiny, s, some_rewards(24), 9, 0);
  Updater updater(tiny.models(), tiny.config, tiny.options);
  const Metrics m = run(updater, s, it).metrics;
  EXPECT_EQ(m.at("actor/early_stop"), 1);
  EXPECT_EQ(m.at("actor/optimizer_steps"), 1);  // the second minibatch has moved too far already
  EXPECT_LE(m.at("actor/ppo_kl_k3"), 1e-3);
  EXPECT_EQ(updater.critic_optimizer()->steps(), 8);  // the critic goes on
}

TEST(Update, CanBeInterruptedBetweenMicroBatches) {
  const auto s = random_sequences(24, 7);
  Tiny tiny(7);
  tiny.config.ppo.micro_batch_tokens = 1;  // every sequence by itself
  std::vector<double> shares;
  tiny.options.should_stop = [&](double share) {
    shares.push_back(share);
    return share > 0.5;
  };
  const Iteration it = prepare(tiny, s, some_rewards(24), 9, 0);
  Updater updater(tiny.models(), tiny.config, tiny.options);
  EXPECT_TRUE(run(updater, s, it).interrupted);
  ASSERT_GE(shares.size(), 3u);
  EXPECT_EQ(shares.front(), 0);
  EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
  EXPECT_LE(shares[shares.size() - 2], 0.5);  // nothing was computed after the one that stopped it
  EXPECT_EQ(updater.critic_optimizer()->steps(), 2);
  EXPECT_EQ(updater.policy_optimizer().steps(), 0);
}

TEST(Update, CanBeInterruptedBetweenMinibatches) {
  const auto s = random_sequences(24, 7);
  Tiny tiny(7);
  int64_t last = -1, all = 0;
  tiny.options.progress = [&](int64_t done, int64_t total) { return last = done, all = total, done < 3; };
  const Iteration it = prepare(tiny, s, some_rewards(24), 9, 0);
  Updater updater(tiny.models(), tiny.config, tiny.options);
  const UpdateResult r = run(updater, s, it);
  EXPECT_TRUE(r.interrupted);
  EXPECT_EQ(last, 3);
  EXPECT_EQ(all, 4);  // 2 of the critic, 2 of the policy
  EXPECT_EQ(updater.policy_optimizer().steps(), 1);
}

TEST(Update, CriticWarmupLeavesThePolicyAlone) {
  for (CriticMode mode : {CriticMode::kSeparate, CriticMode::kShared}) {
    const auto s = random_sequences(24, 7);
    Tiny tiny(7);
    tiny.config.critic.mode = mode;
    tiny.config.critic.warmup_iterations = 2;
    const Iteration it = prepare(tiny, s, some_rewards(24), 9, 0);
    Updater updater(tiny.models(), tiny.config, tiny.options);
    const at::Tensor policy = flat(tiny.policy->parameters()), head = flat(tiny.head.parameters());
    const UpdateResult r = run(updater, s, it, 1);
    EXPECT_TRUE(same_bits(policy, flat(tiny.policy->parameters())));
    EXPECT_FALSE(same_bits(head, flat(tiny.head.parameters())));
    EXPECT_FALSE(r.metrics.count("actor/pg_loss"));
    EXPECT_GT(r.metrics.at("critic/vf_loss"), 0);
    run(updater, s, it, 2);
    EXPECT_FALSE(same_bits(policy, flat(tiny.policy->parameters())));
  }
}

// Two updates in one go, and one, save, load into fresh objects, another.
TEST(Update, ResumesBitForBit) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const auto s = random_sequences(24, 8);
    const auto configured = [&] {
      Tiny t(8, type);
      t.config.optimizer.lr = t.config.critic_optimizer.lr = 1e-3;
      t.config.optimizer.schedule = Schedule::kLinear;
      t.options.total_steps = t.options.critic_total_steps = 4;
      t.config.ppo.micro_batch_tokens = 50;
      return t;
    };
    const auto step = [&](Tiny& t, Updater& u, int64_t iteration) {
      const Iteration it = prepare(t, s, some_rewards(24), 9, iteration);
      return run(u, s, it, iteration).metrics;
    };
    Tiny whole = configured();
    Updater straight(whole.models(), whole.config, whole.options);
    step(whole, straight, 0);
    const Metrics expected = step(whole, straight, 1);

    Tiny first = configured();
    Updater before(first.models(), first.config, first.options);
    step(first, before, 0);
    Tiny second = configured();
    Updater after(second.models(), second.config, second.options);
    const auto move = [](Optimizer& from, Optimizer& to) {
      const at::NoGradGuard no_grad;
      for (size_t i = 0; i < from.parameters().size(); ++i)
        at::Tensor(to.parameters()[i].second).copy_(from.parameters()[i].second);
      to.load(core::parse_json(core::dump_json(from.state()), "state"), from.state_tensors());
    };
    move(before.policy_optimizer(), after.policy_optimizer());
    move(*before.critic_optimizer(), *after.critic_optimizer());
    EXPECT_EQ(step(second, after, 1), expected);
    EXPECT_TRUE(same_bits(flat(whole.policy->parameters()), flat(second.policy->parameters())));
    EXPECT_TRUE(same_bits(flat(whole.critic->parameters()), flat(second.critic->parameters())));
    EXPECT_TRUE(same_bits(flat(whole.head.parameters()), flat(second.head.parameters())));
  }
}

TEST(Update, WritesOnlyMetricsOfTheCatalog) {
  for (CriticMode mode : {CriticMode::kSeparate, CriticMode::kShared})
    for (KlPlace place : {KlPlace::kReward, KlPlace::kLoss}) {
      const auto s = random_sequences(12, 9);
      Tiny tiny(9);
      tiny.config.critic.mode = mode;
      tiny.config.kl.in = place;
      tiny.config.ppo.entropy_coefficient = 0.01;
      const Iteration it = prepare(tiny, s, some_rewards(12), 9, 0);
      Updater updater(tiny.models(), tiny.config, tiny.options);
      Metrics all = it.advantages.metrics;
      all.merge(run(updater, s, it).metrics);
      EXPECT_EQ(metrics::unknown_keys(all), std::vector<std::string>{});
      for (const char* key :
           {"actor/pg_loss", "actor/entropy", "actor/grad_norm", "critic/vf_loss", "critic/grad_norm",
            "critic/returns/mean", "critic/advantages/max", "critic/vf_explained_var"})
        EXPECT_TRUE(all.count(key)) << key;
      for (const auto& [key, value] : all) EXPECT_TRUE(std::isfinite(value)) << key;
    }
}

// Sampler log-probabilities such that the trainer's probability is e times the sampler's in even sequences
// and the same in odd ones.
std::vector<TrainSequence> with_sampler(std::vector<TrainSequence> s, const ScoredBatch& scored) {
  const float* p = scored.logprobs.const_data_ptr<float>();
  for (size_t i = 0; i < s.size(); ++i)
    for (int64_t t = scored.offsets[i]; t < scored.offsets[i + 1]; ++t)
      s[i].sampler_logprobs.push_back(p[t] - (i % 2 == 0 ? 1.0f : 0.0f));
  return s;
}

TEST(Update, ImportanceWeightsAreCapped) {
  const auto s = random_sequences(12, 9);
  Tiny tiny(9);
  tiny.config.ppo.importance_cap = 2.0;
  const Iteration it = prepare(tiny, s, some_rewards(12), 9, 0);
  Updater updater(tiny.models(), tiny.config, tiny.options);
  EXPECT_THROW(run(updater, s, it), core::Error);  // the sampler's log-probabilities are not there
  const Metrics m = run(updater, with_sampler(s, it.scored), it).metrics;
  double even = 0, all = static_cast<double>(it.scored.num_tokens());
  for (size_t i = 0; i < s.size(); i += 2) even += static_cast<double>(s[i].response_length());
  EXPECT_NEAR(m.at("actor/importance_capped_share"), even / all, 1e-6);
  EXPECT_NEAR(m.at("actor/importance_mean"), (2 * even + (all - even)) / all, 1e-6);
}

// The gradient is linear in the tokens' losses: twice those of the even sequences and once those of the odd
// ones.
TEST(Update, ImportanceWeightsReachTheirTokens) {
  const auto s = random_sequences(12, 9);
  Tiny tiny(5);
  tiny.config.advantage.estimator = Estimator::kGrpo;
  tiny.config.kl.coefficient = 0;
  const Iteration it = prepare(tiny, s, some_rewards(12), 9, 0);
  Iteration even = it;
  even.advantages.advantages = it.advantages.advantages.clone();
  for (size_t i = 1; i < s.size(); i += 2)
    even.advantages.advantages.slice(0, it.scored.offsets[i], it.scored.offsets[i + 1]).zero_();
  std::vector<int64_t> order(12);
  std::iota(order.rbegin(), order.rend(), int64_t{0});
  const Minibatch minibatch = cut_micro_batches(s, order, 23);
  for (const PolicyLoss loss : {PolicyLoss::kClip, PolicyLoss::kGspo, PolicyLoss::kCispo}) {
    tiny.config.ppo.policy_loss = loss;
    tiny.config.ppo.importance_cap.reset();
    const at::Tensor expected =
        gradients_with(tiny, s, it, minibatch) + gradients_with(tiny, s, even, minibatch);
    tiny.config.ppo.importance_cap = 2.0;
    const at::Tensor got = gradients_with(tiny, with_sampler(s, it.scored), it, minibatch);
    const double largest = expected.abs().max().item<double>();
    EXPECT_GT(largest, 1e-4);
    EXPECT_LE((got - expected).abs().max().item<double>(), 1e-5 * largest) << static_cast<int>(loss);
  }
}

}  // namespace
}  // namespace pan::rl
