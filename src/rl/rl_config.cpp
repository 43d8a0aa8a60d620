#include "rl/rl_config.h"

#include "core/error.h"

namespace pan::rl {

void describe(core::Fields& f, PpoConfig& c) {
  f.integer("epochs", c.epochs,
            {.min = 1,
             .unit = "epoch",
             .doc = "Passes over the sequences of an iteration. More reuse each sample further from the "
                    "policy that drew it; "
                    "watch actor/ppo_kl and actor/pg_clipfrac."});
  f.integer(
      "minibatch_size", c.minibatch_size,
      {.min = 1,
       .unit = "sequence",
       .doc = "Sequences of one optimizer step, over all ranks. Must divide the sequences of an iteration."});
  f.integer("micro_batch_tokens", c.micro_batch_tokens,
            {.min = 1,
             .unit = "token",
             .doc = "Tokens, prompts included, of one forward and backward pass. Bounds memory and changes "
                    "results only by "
                    "rounding; a longer sequence gets a pass of its own. Lower it when memory runs out."});
  f.choice("policy_loss", c.policy_loss,
           {{"clip", PolicyLoss::kClip}, {"gspo", PolicyLoss::kGspo}, {"cispo", PolicyLoss::kCispo}},
           "clip: PPO's clipped ratio of each token. gspo: one ratio per sequence, the geometric mean. "
           "cispo: the clipped ratio "
           "weights the log-probability and every token keeps its gradient.");
  f.number("clip_low", c.clip_low,
           {.min = 0, .max = 1, .doc = "Ratios are clipped below 1 - clip_low. gspo needs about 0.0003."});
  f.number("clip_high", c.clip_high,
           {.min = 0,
            .doc = "Ratios are clipped above 1 + clip_high. 0.28 (clip-higher) leaves more room for unlikely "
                   "tokens; gspo needs "
                   "about 0.0004."});
  f.optional_number("dual_clip", c.dual_clip,
                    {.min = 1,
                     .exclusive_min = true,
                     .doc = "Bound on the loss of tokens with negative advantage, in units of it. null = "
                            "none. Only for clip."});
  f.number("entropy_coefficient", c.entropy_coefficient,
           {.min = 0,
            .doc = "Weight of the entropy bonus in the policy loss. Raise it (0.001) when actor/entropy "
                   "collapses early; "
                   "above 0 the backward pass costs more."});
  f.choice(
      "aggregation", c.aggregation,
      {{"auto", Aggregation::kAuto},
       {"token-mean", Aggregation::kTokenMean},
       {"seq-mean-token-sum", Aggregation::kSeqMeanTokenSum},
       {"seq-mean-token-mean", Aggregation::kSeqMeanTokenMean},
       {"seq-mean-token-sum-norm", Aggregation::kSeqMeanTokenSumNorm}},
      "How token losses of an optimizer step become one number; counts are those of the whole step. auto: "
      "seq-mean-token-mean for policy_loss = gspo, seq-mean-token-sum-norm for advantage.estimator = "
      "dr_grpo, else token-mean. The last one divides "
      "each sequence's sum by the longest response allowed (Dr. GRPO).");
  f.optional_number(
      "target_kl", c.target_kl,
      {.min = 0,
       .exclusive_min = true,
       .unit = "nat",
       .doc = "Ends the policy's update, before the step is taken, at a minibatch whose mean KL from the "
              "sampling "
              "policy (k3) exceeds this. null = never. 0.02 is a usual value with several epochs."});
  f.optional_number(
      "importance_cap", c.importance_cap,
      {.min = 0,
       .exclusive_min = true,
       .doc = "Corrects for a sampler whose probabilities differ from the trainer's: token losses are "
              "multiplied by "
              "min(p_trainer / p_sampler, cap). null = off; the mismatch is logged either way."});
}

void describe(core::Fields& f, AdvantageConfig& c) {
  f.choice("estimator", c.estimator,
           {{"gae", Estimator::kGae},
            {"grpo", Estimator::kGrpo},
            {"dr_grpo", Estimator::kDrGrpo},
            {"rloo", Estimator::kRloo},
            {"reinforce_plus_plus", Estimator::kReinforcePlusPlus},
            {"reinforce_plus_plus_baseline", Estimator::kReinforcePlusPlusBaseline}},
           "gae needs a critic. grpo, dr_grpo, rloo and reinforce_plus_plus_baseline compare the answers of "
           "one prompt. No critic is "
           "loaded for any but gae.");
  f.number("gamma", c.gamma,
           {.min = 0,
            .max = 1,
            .doc = "Discount per token; gae and reinforce_plus_plus. 1 for answers judged at their end."});
  f.number("lambda", c.lambda,
           {.min = 0,
            .max = 1,
            .doc = "GAE's trade of bias for variance: 1 ignores the critic's later values. gae only."});
  f.boolean("whiten", c.whiten,
            "Shifts and scales advantages to mean 0 and variance 1 over all response tokens of the "
            "iteration; gae and "
            "the reinforce_plus_plus forms.");
  f.number("missing_eos_penalty", c.missing_eos_penalty,
           {.min = 0,
            .unit = "reward",
            .doc = "Taken off the task reward of an answer cut off by the length limit."});
  f.integer("overlong_buffer_tokens", c.overlong_buffer_tokens,
            {.min = 0,
             .unit = "token",
             .doc = "Answers longer than the limit less this lose reward in proportion, overlong_penalty at "
                    "the limit. 0 = off."});
  f.number(
      "overlong_penalty", c.overlong_penalty,
      {.min = 0, .unit = "reward", .doc = "Largest soft penalty for length; see overlong_buffer_tokens."});
  f.boolean("mask_truncated", c.mask_truncated,
            "Leaves answers cut off by the length limit out of all losses. Their rewards still count in "
            "group means.");
}

void describe(core::Fields& f, KlConfig& c) {
  f.choice("in", c.in,
           {{"auto", KlPlace::kAuto},
            {"reward", KlPlace::kReward},
            {"loss", KlPlace::kLoss},
            {"none", KlPlace::kNone}},
           "Where the distance from the reference model is penalised. auto: in the reward for gae, in the "
           "loss for the others. "
           "none: no reference model is loaded.");
  f.choice("estimator", c.estimator,
           {{"auto", KlEstimator::kAuto},
            {"k1", KlEstimator::kK1},
            {"k2", KlEstimator::kK2},
            {"k3", KlEstimator::kK3},
            {"abs", KlEstimator::kAbs}},
           "auto: k1 in the reward, k3 in the loss. k1 and abs are refused in the loss, where their gradient "
           "is useless.");
  f.number("coefficient", c.coefficient,
           {.min = 0,
            .unit = "reward/nat",
            .doc = "Weight of the penalty (its start, with the adaptive controller). 0 = off, no reference "
                   "model is loaded. Raise "
                   "it when the policy drifts into nonsense that pays."});
  f.choice("controller", c.controller,
           {{"fixed", KlController::kFixed}, {"adaptive", KlController::kAdaptive}},
           "adaptive moves the coefficient so that the KL stays near target.");
  f.number(
      "target", c.target,
      {.min = 0, .exclusive_min = true, .unit = "nat/token", .doc = "KL the adaptive controller aims at."});
  f.integer(
      "horizon", c.horizon,
      {.min = 1, .unit = "sequence", .doc = "Time scale of the adaptive controller; larger is slower."});
}

void describe(core::Fields& f, CriticConfig& c) {
  f.choice("mode", c.mode, {{"separate", CriticMode::kSeparate}, {"shared", CriticMode::kShared}},
           "separate: a model of its own with its own optimizer. shared: a value head on the policy's trunk, "
           "which saves its memory "
           "and mixes the two gradients. Only for advantage.estimator = gae.");
  f.text("path", c.path,
         {.doc = "Hugging Face folder of the separate critic; empty = start from the policy's weights.",
          .is_path = true});
  f.optional_number(
      "value_clip", c.value_clip,
      {.min = 0,
       .exclusive_min = true,
       .unit = "reward",
       .doc = "Values further than this from the old ones do not gain from moving on. null = none."});
  f.number("coefficient", c.coefficient,
           {.min = 0, .doc = "Weight of the value loss beside the policy loss; shared only."});
  f.integer("warmup_iterations", c.warmup_iterations,
            {.min = 0, .unit = "iteration", .doc = "First iterations in which only the critic learns."});
}

void describe(core::Fields& f, OptimizerConfig& c) {
  f.number("lr", c.lr,
           {.min = 0, .exclusive_min = true, .doc = "Learning rate after warm-up. Small models bear more."});
  f.number("beta1", c.beta1,
           {.min = 0, .max = 1, .exclusive_max = true, .doc = "AdamW's decay of the mean gradient."});
  f.number("beta2", c.beta2,
           {.min = 0, .max = 1, .exclusive_max = true, .doc = "AdamW's decay of the squared gradient."});
  f.number("eps", c.eps, {.min = 0, .exclusive_min = true, .doc = "AdamW's guard against division by 0."});
  f.number("weight_decay", c.weight_decay, {.min = 0, .doc = "Decoupled weight decay, on every parameter."});
  f.choice("schedule", c.schedule,
           {{"constant", Schedule::kConstant}, {"linear", Schedule::kLinear}, {"cosine", Schedule::kCosine}},
           "Learning rate after warm-up: constant, or down to min_lr_ratio at the end of the run.");
  f.integer("warmup_steps", c.warmup_steps,
            {.min = 0, .unit = "step", .doc = "Optimizer steps over which the rate rises in a line to lr."});
  f.number("min_lr_ratio", c.min_lr_ratio,
           {.min = 0, .max = 1, .doc = "Share of lr at the end of linear and cosine."});
  f.optional_number(
      "grad_clip", c.grad_clip,
      {.min = 0,
       .exclusive_min = true,
       .doc = "Largest global L2 norm of the gradient; longer ones are scaled down. null = none."});
}

void describe(core::Fields& f, RlConfig& c) {
  f.object("ppo", c.ppo, "The policy update.");
  f.object("advantage", c.advantage, "From rewards to advantages.");
  f.object("kl", c.kl, "Penalty for the distance from the reference model.");
  f.object("critic", c.critic, "The value function; only for advantage.estimator = gae.");
  f.object("optimizer", c.optimizer, "AdamW of the policy.");
  f.object("critic_optimizer", c.critic_optimizer,
           "AdamW of the critic (of the value head, where it shares the trunk).");
}

bool needs_critic(const RlConfig& config) { return config.advantage.estimator == Estimator::kGae; }

bool has_separate_critic(const RlConfig& config) {
  return needs_critic(config) && config.critic.mode == CriticMode::kSeparate;
}

KlPlace kl_place(const RlConfig& config) {
  if (config.kl.coefficient == 0) return KlPlace::kNone;
  if (config.kl.in != KlPlace::kAuto) return config.kl.in;
  return needs_critic(config) ? KlPlace::kReward : KlPlace::kLoss;
}

KlEstimator kl_estimator(const RlConfig& config) {
  if (config.kl.estimator != KlEstimator::kAuto) return config.kl.estimator;
  return kl_place(config) == KlPlace::kLoss ? KlEstimator::kK3 : KlEstimator::kK1;
}

Aggregation token_aggregation(const RlConfig& config) {
  if (config.ppo.aggregation != Aggregation::kAuto) return config.ppo.aggregation;
  if (config.ppo.policy_loss == PolicyLoss::kGspo) return Aggregation::kSeqMeanTokenMean;
  if (config.advantage.estimator == Estimator::kDrGrpo) return Aggregation::kSeqMeanTokenSumNorm;
  return Aggregation::kTokenMean;
}

bool needs_reference(const RlConfig& config) { return kl_place(config) != KlPlace::kNone; }

namespace {

bool compares_groups(Estimator e) {
  return e == Estimator::kGrpo || e == Estimator::kDrGrpo || e == Estimator::kRloo ||
         e == Estimator::kReinforcePlusPlusBaseline;
}

void check_sizes(const RlConfig& c, const RlFacts& facts) {
  PAN_CHECK(facts.sequences_per_iteration % c.ppo.minibatch_size == 0, kConfig,
            "the sequences of an iteration do not divide into minibatches")
      .pointer("/ppo/minibatch_size")
      .expected("a divisor of " + std::to_string(facts.sequences_per_iteration) + " (" +
                std::to_string(facts.samples_per_prompt == 0
                                   ? 0
                                   : facts.sequences_per_iteration / facts.samples_per_prompt) +
                " prompts x " + std::to_string(facts.samples_per_prompt) + " samples)")
      .got(std::to_string(c.ppo.minibatch_size) + " (remainder " +
           std::to_string(facts.sequences_per_iteration % c.ppo.minibatch_size) + ")")
      .remedy("Change ppo.minibatch_size, train.prompts_per_iteration or train.samples_per_prompt");
  PAN_CHECK(!compares_groups(c.advantage.estimator) || facts.samples_per_prompt >= 2, kConfig,
            "this estimator compares the answers of one prompt")
      .pointer("/advantage/estimator")
      .expected("train.samples_per_prompt >= 2")
      .got(std::to_string(facts.samples_per_prompt))
      .remedy("Sample more answers per prompt, or choose gae or reinforce_plus_plus.");
  PAN_CHECK(c.advantage.overlong_buffer_tokens <= facts.max_response_tokens, kConfig,
            "the overlong buffer is longer than the longest response")
      .pointer("/advantage/overlong_buffer_tokens")
      .expected("<= rollout.max_new_tokens = " + std::to_string(facts.max_response_tokens))
      .got(std::to_string(c.advantage.overlong_buffer_tokens))
      .remedy("Make the buffer shorter, or answers longer");
}

void check_pairs(const RlConfig& c) {
  const KlEstimator e = kl_estimator(c);
  PAN_CHECK(kl_place(c) != KlPlace::kLoss || e == KlEstimator::kK2 || e == KlEstimator::kK3, kConfig,
            "this KL estimator has no useful gradient in a loss")
      .pointer("/kl/estimator")
      .expected("k2, k3 or auto with kl.in = loss")
      .got(e == KlEstimator::kK1 ? "k1" : "abs")
      .remedy("Leave kl.estimator out, or set kl.in to reward");
  PAN_CHECK(c.ppo.policy_loss != PolicyLoss::kGspo || token_aggregation(c) == Aggregation::kSeqMeanTokenMean,
            kConfig, "gspo gives every sequence the same weight")
      .pointer("/ppo/aggregation")
      .expected("auto or seq-mean-token-mean with ppo.policy_loss = gspo")
      .got("another aggregation")
      .remedy("Leave ppo.aggregation out, or set another ppo.policy_loss");
  for (const auto* o : {&c.optimizer, &c.critic_optimizer})
    PAN_CHECK(o->min_lr_ratio == 0 || o->schedule != Schedule::kConstant, kConfig,
              "a constant schedule has no end to go down to")
        .pointer(o == &c.optimizer ? "/optimizer/min_lr_ratio" : "/critic_optimizer/min_lr_ratio")
        .expected("0, or schedule linear or cosine")
        .got(std::to_string(o->min_lr_ratio))
        .remedy("Set min_lr_ratio to 0, or choose a schedule that falls");
}

std::vector<std::string> idle_settings(const RlConfig& c) {
  const RlConfig standard;
  std::vector<std::string> out;
  auto idle = [&](bool set, const std::string& pointer, const std::string& why) {
    if (set) out.push_back(pointer + ": has no effect: " + why);
  };
  const bool gae = needs_critic(c);
  idle(!gae && c.advantage.lambda != standard.advantage.lambda, "/advantage/lambda", "only gae uses it");
  idle(!gae && c.advantage.estimator != Estimator::kReinforcePlusPlus && c.advantage.gamma != 1,
       "/advantage/gamma", "only gae and reinforce_plus_plus discount");
  idle(!gae && !c.critic.path.empty(), "/critic/path", "no critic is loaded for this estimator");
  idle(!gae && c.critic.warmup_iterations != 0, "/critic/warmup_iterations", "there is no critic");
  idle(c.critic.mode == CriticMode::kShared && !c.critic.path.empty(), "/critic/path",
       "the critic shares the policy's trunk");
  idle(c.critic.mode == CriticMode::kSeparate && c.critic.coefficient != standard.critic.coefficient,
       "/critic/coefficient", "a separate critic has its own loss; change critic_optimizer.lr");
  idle(kl_place(c) == KlPlace::kNone && c.kl.controller == KlController::kAdaptive, "/kl/controller",
       "there is no KL penalty");
  idle(c.kl.controller == KlController::kFixed && c.kl.target != standard.kl.target, "/kl/target",
       "the controller is fixed");
  idle(c.kl.controller == KlController::kFixed && c.kl.horizon != standard.kl.horizon, "/kl/horizon",
       "the controller is fixed");
  idle(c.ppo.policy_loss != PolicyLoss::kClip && c.ppo.dual_clip != standard.ppo.dual_clip, "/ppo/dual_clip",
       "only policy_loss = clip has a dual clip");
  idle(c.advantage.overlong_buffer_tokens == 0 &&
           c.advantage.overlong_penalty != standard.advantage.overlong_penalty,
       "/advantage/overlong_penalty", "overlong_buffer_tokens is 0");
  return out;
}

void note_wide_clip(const RlConfig& c, std::vector<std::string>& notes) {
  constexpr double kWidest = 0.01;
  if (c.ppo.policy_loss != PolicyLoss::kGspo) return;
  const std::string why =
      ": gspo's ratio is a mean over the whole answer and moves by thousandths, so that a bound above 0.01 "
      "clips nothing; its paper has clip_low 0.0003 and clip_high 0.0004";
  if (c.ppo.clip_low > kWidest) notes.push_back("/ppo/clip_low" + why);
  if (c.ppo.clip_high > kWidest) notes.push_back("/ppo/clip_high" + why);
}

}  // namespace

std::vector<std::string> check(const RlConfig& config, const RlFacts& facts) {
  check_sizes(config, facts);
  check_pairs(config);
  std::vector<std::string> notes = idle_settings(config);
  note_wide_clip(config, notes);
  return notes;
}

}  // namespace pan::rl
