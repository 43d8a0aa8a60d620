// Options of the update: the groups `ppo`, `advantage`, `kl`, `critic`, `optimizer`, `critic_optimizer`.
// Defaults are those of verl's PPO, except lambda 0.95.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/schema.h"

namespace pan::rl {

enum class PolicyLoss { kClip, kGspo, kCispo };
enum class Aggregation { kAuto, kTokenMean, kSeqMeanTokenSum, kSeqMeanTokenMean, kSeqMeanTokenSumNorm };

struct PpoConfig {
  int64_t epochs = 1;
  int64_t minibatch_size = 64;
  int64_t micro_batch_tokens = 2048;
  PolicyLoss policy_loss = PolicyLoss::kClip;
  double clip_low = 0.2;
  double clip_high = 0.2;
  std::optional<double> dual_clip = 3.0;
  double entropy_coefficient = 0;
  Aggregation aggregation = Aggregation::kAuto;
  std::optional<double> target_kl;
  std::optional<double> importance_cap;
};
void describe(core::Fields& f, PpoConfig& c);

enum class Estimator { kGae, kGrpo, kDrGrpo, kRloo, kReinforcePlusPlus, kReinforcePlusPlusBaseline };

struct AdvantageConfig {
  Estimator estimator = Estimator::kGae;
  double gamma = 1.0;
  double lambda = 0.95;
  bool whiten = true;
  double missing_eos_penalty = 0;
  int64_t overlong_buffer_tokens = 0;
  double overlong_penalty = 1.0;
  bool mask_truncated = false;
};
void describe(core::Fields& f, AdvantageConfig& c);

enum class KlPlace { kAuto, kReward, kLoss, kNone };
enum class KlEstimator { kAuto, kK1, kK2, kK3, kAbs };
enum class KlController { kFixed, kAdaptive };

struct KlConfig {
  KlPlace in = KlPlace::kAuto;
  KlEstimator estimator = KlEstimator::kAuto;
  double coefficient = 0.001;
  KlController controller = KlController::kFixed;
  double target = 0.1;
  int64_t horizon = 10000;
};
void describe(core::Fields& f, KlConfig& c);

enum class CriticMode { kSeparate, kShared };

struct CriticConfig {
  CriticMode mode = CriticMode::kSeparate;
  std::string path;
  std::optional<double> value_clip = 0.5;
  double coefficient = 0.1;
  int64_t warmup_iterations = 0;
};
void describe(core::Fields& f, CriticConfig& c);

enum class Schedule { kConstant, kLinear, kCosine };

struct OptimizerConfig {
  double lr = 1e-6;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
  Schedule schedule = Schedule::kConstant;
  int64_t warmup_steps = 0;
  double min_lr_ratio = 0;
  std::optional<double> grad_clip = 1.0;
};
void describe(core::Fields& f, OptimizerConfig& c);

struct RlConfig {
  PpoConfig ppo;
  AdvantageConfig advantage;
  KlConfig kl;
  CriticConfig critic;
  OptimizerConfig optimizer;
  OptimizerConfig critic_optimizer = {.lr = 1e-5};
};
// The six groups as objects of the struct being described; the run configuration calls it at its top level.
void describe(core::Fields& f, RlConfig& c);

// What is known only outside this module and takes part in the checks.
struct RlFacts {
  int64_t sequences_per_iteration = 0;
  int64_t samples_per_prompt = 0;
  int64_t max_response_tokens = 0;
};

// Refuses what cannot work together (kConfig with the JSON pointer and, for sizes, the arithmetic) and
// returns one sentence
// "<pointer>: ..." per setting that has no effect in this run or is far from what its method needs.
std::vector<std::string> check(const RlConfig& config, const RlFacts& facts);

// The `auto` choices resolved: KL in the reward for gae, in the loss for the others, nowhere at coefficient
// 0; k1 in the reward, k3 in the loss; what gspo and Dr. GRPO are defined with, token-mean for the others.
KlPlace kl_place(const RlConfig& config);
KlEstimator kl_estimator(const RlConfig& config);
Aggregation token_aggregation(const RlConfig& config);
bool needs_reference(const RlConfig& config);      // a reference model has to be loaded
bool needs_critic(const RlConfig& config);         // values are used (gae only)
bool has_separate_critic(const RlConfig& config);  // a model of its own gives them

}  // namespace pan::rl
