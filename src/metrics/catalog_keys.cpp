#include "metrics/catalog_keys.h"

#include <string>
#include <utility>

namespace pan::metrics::internal {
namespace {

class Table {
 public:
  void add(std::string key, std::string unit, std::string formula, std::string doc) {
    keys_.push_back({std::move(key), std::move(unit), std::move(formula), std::move(doc)});
  }
  // <prefix>/mean, /max, /min over the same samples.
  void three(const std::string& prefix, const std::string& unit, const std::string& samples,
             const std::string& doc) {
    add(prefix + "/mean", unit, "mean over " + samples, doc);
    add(prefix + "/max", unit, "largest over " + samples, doc);
    add(prefix + "/min", unit, "smallest over " + samples, doc);
  }
  std::vector<KeyInfo> take() { return std::move(keys_); }
  void always(const std::vector<std::string>& keys) {
    for (const std::string& key : keys)
      for (KeyInfo& info : keys_)
        if (info.key == key) info.always = true;
  }

 private:
  std::vector<KeyInfo> keys_;
};

constexpr const char* kTokens = "trained response tokens of all optimizer steps of the iteration";

void reward_keys(Table& t) {
  t.three("critic/score", "reward", "sequences", "Task reward, before KL, length penalties and rhythm.");
  t.three("critic/rewards", "reward", "sequences",
          "Sum of all rewards of a sequence: task, penalties, KL in the reward, rhythm.");
  t.add("reward/{term}/mean", "reward", "mean over sequences", "One named term of the task's reward.");
  t.add("reward/{term}/std", "reward", "standard deviation over sequences, divisor n",
        "Spread of one named term.");
  t.add("reward/{term}/right", "reward", "mean over right answers", "One named term of the task's reward.");
  t.add("reward/{term}/wrong", "reward", "mean over wrong answers", "One named term of the task's reward.");
  t.add("reward/total/mean", "reward", "mean over sequences of task + rhythm",
        "What the answers earned, KL aside.");
  t.add("reward/group_std/mean", "reward",
        "mean over prompts of the deviation of the task reward within its samples, divisor n",
        "0 everywhere: group estimators learn nothing.");
  t.add("reward/zero_std_share", "", "share of prompts whose samples all earned the same task reward",
        "Prompts that are too easy or too hard.");
  t.add("reward/accuracy", "", "share of sequences judged right",
        "Training accuracy at the sampling temperature.");
  t.add("reward/accuracy/{task}", "", "share of the task's sequences judged right",
        "Training accuracy by task of a mix, or by size of logic grids (puzzle accuracy).");
  t.add("reward/accuracy/{task}/{size}", "", "share of the size's sequences judged right",
        "Puzzle accuracy by size of a mix's logic grids.");
  t.add("reward/cell_accuracy", "", "right cells / all cells over all grids, unread answers included",
        "Logic grids. High by chance alone.");
  t.add("reward/cell_accuracy/{size}", "", "right cells / all cells over the size's grids",
        "Logic grids by size.");
  t.add("reward/cell_accuracy/{task}/{size}", "", "right cells / all cells over the size's grids",
        "Logic grids of a mix by size.");
  t.add("reward/score/{task}", "reward", "mean over the task's sequences", "Task reward by task of a mix.");
  t.add("reward/no_answer_rate", "", "share of sequences without an answer that can be read",
        "Format failures.");
  t.add("reward/no_answer_rate/{size}", "", "share of the size's sequences without an answer",
        "Logic grids by size.");
  t.add("reward/no_answer_rate/{task}/{size}", "", "share of the size's sequences without an answer",
        "Logic grids of a mix by size.");
}

void critic_keys(Table& t) {
  t.three("critic/advantages", "reward", "trained response tokens",
          "Advantages as the policy loss sees them: whitened, times credit.");
  t.three("critic/returns", "reward", "trained response tokens",
          "Value targets: advantages before whitening + values.");
  t.three("critic/values", "reward", "trained response tokens", "Values of the scoring pass.");
  t.add("critic/vf_explained_var", "",
        "1 - var(returns - values) / var(returns) over trained response tokens, before the update",
        "1: the critic knows the returns; 0: no better than their mean.");
  t.add("critic/vf_loss", "reward^2",
        std::string("weighted sum of 0.5 max(squared errors), mean over optimizer steps"),
        "Clipped value loss.");
  t.add("critic/vf_clipfrac", "",
        std::string("share of ") + kTokens + " where the clipped branch is the larger",
        "Value clipping at work.");
  t.add("critic/vpred_mean", "reward", std::string("mean over ") + kTokens, "Values during the update.");
  t.add("critic/grad_norm", "", "global L2 norm before clipping, mean over optimizer steps",
        "Critic's gradient.");
  t.add("critic/lr", "", "of the last optimizer step", "Critic's learning rate.");
  t.add("critic/skipped_steps", "step", "optimizer steps skipped in this iteration",
        "Non-finite critic losses or gradients.");
  t.add("critic/kl", "nat/token",
        "mean over sequences of the token mean of ln p - ln p_reference (k1), sampled tokens",
        "Distance to the reference, whatever the place of the KL term.");
}

void actor_keys(Table& t) {
  t.add("actor/pg_loss", "", "sum of weight x token loss, mean over optimizer steps", "Policy loss.");
  t.add("actor/loss", "",
        "pg_loss + KL term - entropy term (+ value term with a shared trunk), mean over optimizer steps",
        "What is differentiated.");
  t.add("actor/pg_clipfrac", "",
        std::string("share of ") + kTokens + " where clipping of the ratio is active",
        "Upper or lower bound.");
  t.add("actor/pg_clipfrac_lower", "", std::string("share of ") + kTokens + " where the dual clip is active",
        "Negative advantages with a very large ratio.");
  t.add("actor/ppo_kl", "nat/token", std::string("mean of ln p_old - ln p_new over ") + kTokens,
        "Movement of this update (k1); may be negative.");
  t.add("actor/ppo_kl_k3", "nat/token",
        std::string("mean of exp(x) - 1 - x, x = ln p_new - ln p_old, over ") + kTokens,
        "Movement of this update (k3); ppo.target_kl looks at it.");
  t.add("actor/ratio_mean", "", std::string("mean of p_new / p_old over ") + kTokens, "Stays near 1.");
  t.add("actor/ratio_max", "", std::string("largest over ") + kTokens, "Probability ratio.");
  t.add("actor/ratio_min", "", std::string("smallest over ") + kTokens, "Probability ratio.");
  t.add("actor/first_ratio_error", "", "largest |p_new / p_old - 1| in the first micro-batch",
        "0 when scorer and update agree.");
  t.add("actor/entropy", "nat/token",
        "mean over response tokens of the entropy of the untruncated softmax at the sampling temperature",
        "Of the scoring pass.");
  t.add("actor/entropy_loss", "nat/token", std::string("mean over ") + kTokens,
        "Entropy during the update, where a bonus is paid.");
  t.add("actor/kl_loss", "nat/token", std::string("mean of the chosen estimator over ") + kTokens,
        "KL to the reference in the loss.");
  t.add("actor/kl_coef", "", "of this iteration", "Coefficient of the KL term in the loss.");
  t.add("actor/reward_kl_penalty", "nat/token",
        "mean over sequences of each one's token mean of the chosen estimator",
        "KL to the reference, where it is part of the reward.");
  t.add("actor/reward_kl_penalty_coeff", "", "of this iteration",
        "Coefficient of the KL term in the reward.");
  t.add("actor/grad_norm", "", "global L2 norm before clipping, mean over optimizer steps",
        "Policy's gradient.");
  t.add("actor/lr", "", "of the last optimizer step", "Policy's learning rate.");
  t.add("actor/skipped_steps", "step", "optimizer steps skipped in this iteration",
        "Non-finite policy losses or gradients.");
  t.add("actor/optimizer_steps", "step", "applied in this iteration",
        "Fewer than planned after an early stop.");
  t.add("actor/epochs", "epoch", "begun in this iteration", "Passes over the samples.");
  t.add("actor/masked_sequences", "sequence", "left out of losses and whitening by advantage.mask_truncated",
        "Truncated answers.");
  t.add("actor/early_stop", "", "1 where ppo.target_kl ended the update, else 0", "Early stop.");
  t.add("actor/importance_mean", "", "mean over response tokens of min(p_scorer / p_sampler, cap)",
        "Truncated importance weights.");
  t.add("actor/importance_capped_share", "", "share of response tokens whose weight was cut",
        "Truncated importance weights.");
}

void length_keys(Table& t) {
  t.three("response_length", "token", "sequences", "Response, end-of-text included.");
  t.add("response_length/limit", "token", "stage of train.length_curriculum",
        "Longest response allowed; only with a curriculum.");
  t.add("response_length/hist/{part}", "", "share of sequences in eighth 1..8 of rollout.max_new_tokens",
        "Histogram of the lengths.");
  t.add("prompt_length/hist/{part}", "", "share of sequences in eighth 1..8 of train.max_prompt_tokens",
        "Histogram of the lengths.");
  t.add("response_length/clip_ratio", "", "share of sequences stopped by the length limit",
        "Truncated answers.");
  t.three("prompt_length", "token", "sequences", "Prompt, template included.");
  t.add("prompt_length/clip_ratio", "", "share of sequences whose prompt has train.max_prompt_tokens tokens",
        "Prompts close to being refused.");
  t.add("response/aborted_ratio", "", "share of sequences without a token before the end-of-text token",
        "Empty answers.");
  t.add("response/stop_string_ratio", "", "share of sequences ended by a stop string", "Finish reason.");
  t.add("response/end_of_text_ratio", "", "share of sequences ended by an end-of-text token",
        "Finish reason.");
  t.add("prompts/skipped", "prompt", "since the start of the run",
        "Prompts over the length limit, with overlong_prompts = skip.");
  t.add("prompts/share/{task}", "", "share of the iteration's sequences", "What each task of a mix had.");
}

void mismatch_keys(Table& t) {
  const std::string where = " over response tokens of |p_sampler - p_scorer|";
  t.add("training/rollout_probs_diff_mean", "", "mean" + where, "Sampler against scorer.");
  t.add("training/rollout_probs_diff_max", "", "largest" + where, "Sampler against scorer.");
  t.add("training/rollout_probs_diff_std", "", "standard deviation" + where, "Sampler against scorer.");
  t.add("training/rollout_actor_probs_pearson_corr", "",
        "correlation of p_sampler and p_scorer over response tokens", "1 when both compute the same.");
  t.add("rollout_corr/kl", "nat/token", "mean over response tokens of ln p_sampler - ln p_scorer",
        "Mismatch KL (k1).");
  t.add("rollout_corr/k3_kl", "nat/token", "mean of exp(x) - 1 - x, x = ln p_scorer - ln p_sampler",
        "Mismatch KL (k3).");
  t.add("rollout_corr/ratio_mean", "", "mean over response tokens of p_scorer / p_sampler",
        "Untruncated weights.");
  t.add("rollout_corr/ratio_max", "", "largest over response tokens of p_scorer / p_sampler",
        "Untruncated weights.");
  t.add("rollout_corr/ess", "", "(sum w)^2 / (n sum w^2), w = p_scorer / p_sampler",
        "Effective sample size over sample size.");
  t.add("rollout/cut_mass_mean", "",
        "mean over sequences of each one's token mean of the probability removed by top_k and top_p",
        "0 with the training defaults.");
}

void rhythm_keys(Table& t) {
  t.add("rhythm/reward/mean", "reward", "mean over sequences of sum_k R_rhythm(k), without lambda and cap",
        "Section 6.");
  t.add("rhythm/reward/right", "reward", "the same over right answers", "Does rhythm go with being right?");
  t.add("rhythm/reward/wrong", "reward", "the same over wrong answers", "Does rhythm go with being right?");
  t.add("rhythm/reward/corr_steps", "", "correlation over sequences with the number of steps",
        "A way to earn by writing more steps?");
  t.add("rhythm/reward/corr_length", "", "correlation over sequences with the response length",
        "A way to earn by writing more?");
  t.add("rhythm/paid/mean", "reward", "mean over sequences of the payments, lambda and cap applied",
        "What enters R_total.");
  t.add("rhythm/capped_share", "", "share of sequences whose payments the cap changed", "Cap B.");
  t.add("rhythm/steps/mean", "step", "mean over sequences of K", "Reasoning steps.");
  t.add("rhythm/steps/repeated_share", "", "share of steps whose trimmed bytes equal an earlier step's",
        "They never earn.");
  t.add("rhythm/repeated_8grams", "", "share of 8-token windows of a response seen before in it",
        "Repetition.");
  for (const auto& [name, what] : {std::pair{"entropy", "z(E_k)"}, std::pair{"concentration", "z(C_k)"}}) {
    t.add(std::string("rhythm/z_") + name + "/mean", "", std::string("mean over steps of ") + what,
          "Near 0 by construction.");
    t.add(std::string("rhythm/z_") + name + "/clip_share", "",
          std::string("share of steps where ") + what + " was clipped", "Outliers.");
  }
  t.add("rhythm/entropy_term/mean", "", "mean over steps of E_k", "Before standardisation.");
  t.add("rhythm/concentration_term/mean", "", "mean over steps of C_k", "Before standardisation.");
  for (const auto& [name, what] : {std::pair{"entropy", "E_k"}, std::pair{"concentration", "C_k"}})
    for (const char* answer : {"right", "wrong"})
      t.add(std::string("rhythm/") + name + "_term/" + answer, "",
            std::string("mean over the steps of ") + answer + " answers of " + what,
            "Does the term go with being right?");
  for (const char* phase : {"preplan", "anchor"}) {
    const std::string over = std::string("mean over steps of the mean over their ") + phase + " positions";
    t.add(std::string("rhythm/preplan_entropy/") + phase, "0..1",
          over + " of the H_glob mean of norm_entropy", "Broad reading.");
    t.add(std::string("rhythm/anchor_concentration/") + phase, "-1..1",
          over + " of the H_glob mean of (anchor_mass - u)/(1 - u)", "Focus on the anchors.");
  }
  t.add("rhythm/waad_mean", "token", "mean over response tokens of the H_loc mean of WAAD",
        "Windowed average attention distance.");
  t.add("rhythm/fai_mean", "", "mean over response tokens where it is defined of the H_glob mean of FAI",
        "Future attention influence.");
  t.add("rhythm/advantage_std/task", "reward",
        "deviation over trained response tokens, divisor n, of the advantage without rhythm",
        "Share of the task in the signal.");
  t.add("rhythm/advantage_std/rhythm", "reward",
        "deviation over trained response tokens, divisor n, of what rhythm adds",
        "Share of rhythm in the signal.");
  t.add("rhythm/sigma/entropy", "", "running deviation of E_k", "Moments of section 6.");
  t.add("rhythm/sigma/concentration", "", "running deviation of C_k", "Moments of section 6.");
  t.add("rhythm/groups/overlap_{group}", "",
        "share of heads that the group has in common with the one of Eq. 7", "Effect of the sink rule.");
  t.add("rhythm/groups/refreshed", "", "1 in an iteration that calibrated the head groups",
        "Moments start anew there.");
  t.add("rhythm/guard/rhythm_t", "",
        "t of the least-squares trend of the rhythm terms over rhythm.guard_window iterations",
        "Above 2 with accuracy_t below -2: rhythm is bought with accuracy.");
  t.add("rhythm/guard/accuracy_t", "",
        "t of the least-squares trend of the accuracy of all sampled answers over the same iterations",
        "Below -2: accuracy falls.");
  t.add("rhythm/guard/warnings", "warning", "since the start of the run",
        "Windows in which rhythm rose and accuracy fell.");
  t.add("rhythm/credit/amplified_share", "", "share of response tokens with gamma_t > 1", "Section 8.");
  t.add("rhythm/credit/mean", "", "mean over response tokens of gamma_t", "Section 8.");
}

void time_keys(Table& t) {
  for (const auto& [name, what] :
       {std::pair{"gen", "Sampling."}, std::pair{"reward", "Judging the answers."},
        std::pair{"calibrate", "Finding the head groups."},
        std::pair{"score", "Scoring pass: policy, reference and value."},
        std::pair{"tap", "Attention statistics of the scoring pass: kernels, steps, anchors."},
        std::pair{"rhythm", "Moments, payments and credit."}, std::pair{"adv", "Advantages."},
        std::pair{"update", "Whole update."}, std::pair{"update_critic", "Critic's part of the update."},
        std::pair{"update_actor", "Policy's part of the update."}, std::pair{"testing", "Evaluation."},
        std::pair{"save_checkpoint", "Checkpoint written since the iteration before; not in timing_s/step."},
        std::pair{"step", "Whole iteration."}}) {
    t.add(std::string("timing_s/") + name, "s", "wall clock", what);
  }
  t.add("timing_per_token_ms/{phase}", "ms/token",
        "phase's time / its tokens (gen: response tokens; others: all)", "Cost of a token.");
  t.add("perf/tap_share", "", "timing_s/tap / timing_s/step", "What looking at attention costs.");
  t.add("perf/total_num_tokens", "token", "prompt and response tokens of the iteration", "Work done.");
  t.add("perf/time_per_step", "s", "wall clock of the iteration", "Same as timing_s/step.");
  t.add("perf/throughput", "token/s", "total_num_tokens / time_per_step", "All phases together, all ranks.");
  t.add("perf/gen_throughput", "token/s", "response tokens / timing_s/gen", "Sampling alone.");
  t.add("perf/mfu/{model}", "",
        "model FLOPs / time / peak (train.peak_tflops, or measured): actor and critic in the update (forward "
        "1, "
        "backward 2), actor_infer in the scoring pass, rollout in sampling",
        "Model FLOPs utilisation. 2 for each matrix weight and token, 4 H D for each query and key.");
  t.add("perf/max_memory_allocated_gb", "GiB", "since the start of the process",
        "Peak of tensors on the GPU; not on a CPU.");
  t.add("perf/cpu_memory_used_gb", "GiB", "resident set at the end of the iteration", "Host memory.");
  t.add("perf/cpu_memory_peak_gb", "GiB", "largest resident set since the start of the process",
        "Host memory.");
}

void run_keys(Table& t) {
  t.add("sampling/refills", "", "rounds after the first", "Dynamic sampling.");
  t.add("sampling/dropped_prompts", "prompt", "prompts whose answers all earned the same task reward",
        "Dynamic sampling.");
  t.add("sampling/dropped_right_prompts", "prompt", "those of them with every answer right",
        "Too easy; the others are too hard.");
  t.add("sampling/kept_prompts", "prompt", "prompts trained on",
        "Fewer than train.prompts_per_iteration once max_refills is used up.");
  t.add("sampling/accuracy", "",
        "share of right answers among all sampled, those of dropped prompts included",
        "reward/accuracy covers the kept ones alone.");
  t.add("training/global_step", "iteration", "iterations finished", "Counts on over a resume.");
  t.add("training/epoch", "epoch", "prompts drawn / prompts in the data",
        "Passes over the data; not for a task that makes its prompts.");
  t.add("training/num_sequences", "sequence", "in this iteration", "Samples trained on.");
  t.add("eval/accuracy", "", "mean over items of pass@1", "Main figure of an evaluation in training.");
  t.add("eval/accuracy/{group}", "", "mean over the group's items of pass@1",
        "By size of logic grids (puzzle accuracy), task of a mix, or group.");
  t.add("eval/accuracy/{task}/{size}", "", "the same over the items of one size of a task of a mix",
        "Accuracy by task and size.");
  t.add("eval/cell_accuracy", "",
        "right cells / all cells over all answers, those not read and prompts too long included",
        "Logic grids, as ZebraLogic has it. High by chance alone.");
  t.add("eval/cell_accuracy/{group}", "", "right cells / all cells over the group's answers",
        "Logic grids by size, or task of a mix.");
  t.add("eval/cell_accuracy/{task}/{size}", "", "the same over one size of a task of a mix",
        "Logic grids by task and size.");
  t.add("eval/avg@{k}", "", "mean over items of the share of k answers that is right", "Is eval/accuracy.");
  t.add("eval/maj@{k}", "", "share of items whose commonest answer of k is right", "Vote of k answers.");
  t.add("eval/pass@{k}", "", "share of items with a right one among k answers", "Best of k answers.");
  t.add("eval/score/{term}", "", "mean over answers", "One named term of the task's reward.");
  t.add("eval/no_answer_rate", "", "share of answers that could not be read; prompts too long count",
        "Format failures.");
  t.add("eval/no_answer_rate/{group}", "", "share of the group's answers that could not be read",
        "Format failures by size, task of a mix, or group.");
  t.add("eval/no_answer_rate/{task}/{size}", "", "the same over one size of a task of a mix",
        "Format failures by task and size.");
  t.add("eval/truncated_rate", "", "share of answers that the length limit cut off", "Too long.");
  t.add("eval/response_length/mean", "token", "mean over answers", "Length of the answers.");
  t.add("val-core/{task}/acc/mean@{n}", "", "mean over items of the share of n samples that is right",
        "verl's path: avg@n, with n = 1 pass@1.");
  t.add("val-core/{task}/acc/best@{n}/mean", "", "mean over items of the best of n samples",
        "verl's path: pass@n. Not by task of a mix.");
  t.add("val-core/{task}/acc/maj@{n}/mean", "", "mean over items of the majority of n samples",
        "verl's path: maj@n. Not by task of a mix.");
  t.add("val-aux/{task}/{name}/mean@{n}", "", "mean over samples of one term of the task's reward",
        "verl's path. Not by task of a mix.");
  t.add("sft/loss", "nat/token", "mean over answer tokens of the step", "Supervised loss.");
  t.add("sft/{name}", "", "over the step",
        "Other figures of supervised training: lr, grad_norm, tokens, eval_loss.");
}

// What no choice of method, task or device leaves out.
std::vector<std::string> always_written() {
  std::vector<std::string> keys = {"critic/advantages/mean",
                                   "critic/advantages/max",
                                   "critic/advantages/min",
                                   "reward/total/mean",
                                   "reward/group_std/mean",
                                   "reward/zero_std_share",
                                   "reward/accuracy",
                                   "reward/no_answer_rate",
                                   "response_length/clip_ratio",
                                   "prompt_length/clip_ratio",
                                   "response/aborted_ratio",
                                   "response/stop_string_ratio",
                                   "response/end_of_text_ratio",
                                   "prompts/skipped",
                                   "training/rollout_probs_diff_mean",
                                   "training/rollout_probs_diff_max",
                                   "training/rollout_probs_diff_std",
                                   "training/rollout_actor_probs_pearson_corr",
                                   "rollout_corr/kl",
                                   "rollout_corr/k3_kl",
                                   "rollout_corr/ratio_mean",
                                   "rollout_corr/ratio_max",
                                   "rollout_corr/ess",
                                   "rollout/cut_mass_mean",
                                   "training/global_step",
                                   "training/num_sequences",
                                   "timing_s/gen",
                                   "timing_s/reward",
                                   "timing_s/score",
                                   "timing_s/adv",
                                   "timing_s/update",
                                   "timing_s/update_actor",
                                   "timing_s/step",
                                   "timing_per_token_ms/{phase}",
                                   "perf/total_num_tokens",
                                   "perf/time_per_step",
                                   "perf/throughput",
                                   "perf/gen_throughput",
                                   "perf/cpu_memory_used_gb",
                                   "perf/cpu_memory_peak_gb"};
  for (const char* prefix : {"critic/score", "critic/rewards", "response_length", "prompt_length"})
    for (const char* part : {"/mean", "/max", "/min"}) keys.push_back(std::string(prefix) + part);
  for (const char* name : {"pg_loss", "loss", "pg_clipfrac", "ppo_kl", "ppo_kl_k3", "ratio_mean", "ratio_max",
                           "ratio_min", "first_ratio_error", "entropy", "kl_coef", "grad_norm", "lr",
                           "skipped_steps", "optimizer_steps", "epochs", "early_stop"})
    keys.push_back(std::string("actor/") + name);
  return keys;
}

}  // namespace

std::vector<KeyInfo> make_catalog() {
  Table table;
  reward_keys(table);
  critic_keys(table);
  actor_keys(table);
  length_keys(table);
  mismatch_keys(table);
  rhythm_keys(table);
  time_keys(table);
  run_keys(table);
  table.always(always_written());
  return table.take();
}

std::vector<TrlName> make_trl_names() {
  return {{"objective/scores", "critic/score/mean"},
          {"objective/rlhf_reward", "critic/rewards/mean", "ours holds length penalties and rhythm too"},
          {"objective/non_score_reward", "actor/reward_kl_penalty",
           "ours is nat/token and without the coefficient, where KL is part of the reward"},
          {"objective/kl", "critic/kl", "TRL sums over tokens, ours is the token mean"},
          {"objective/entropy", "actor/entropy", "TRL sums -ln p over tokens, ours is the exact entropy"},
          {"policy/approxkl_avg", "actor/ppo_kl_k3",
           "TRL: half the mean square of the log-ratio, over padding too"},
          {"policy/clipfrac_avg", "actor/pg_clipfrac"},
          {"policy/entropy_avg", "actor/entropy_loss", "TRL averages over padding too"},
          {"loss/policy_avg", "actor/pg_loss"},
          {"loss/value_avg", "critic/vf_loss"},
          {"val/clipfrac_avg", "critic/vf_clipfrac"},
          {"val/ratio", "actor/ratio_mean", "TRL averages over padding too"},
          {"val/num_eos_tokens", "response/end_of_text_ratio", "a share here, a count there"},
          {"lr", "actor/lr"},
          {"learning_rate", "actor/lr"},
          {"grad_norm", "actor/grad_norm"},
          {"episode", "training/num_sequences", "of the iteration here, running total there"},
          {"reward", "critic/score/mean"},
          {"reward_std", "reward/group_std/mean"},
          {"rewards/{name}/mean", "reward/{term}/mean"},
          {"rewards/{name}/std", "reward/{term}/std"},
          {"kl", "actor/kl_loss"},
          {"loss", "actor/loss"},
          {"entropy", "actor/entropy"},
          {"clip_ratio/region_mean", "actor/pg_clipfrac"},
          {"frac_reward_zero_std", "reward/zero_std_share"},
          {"completions/mean_length", "response_length/mean"},
          {"completions/min_length", "response_length/min"},
          {"completions/max_length", "response_length/max"},
          {"completions/clipped_ratio", "response_length/clip_ratio"},
          {"sampling/sampling_logp_difference/mean", "training/rollout_probs_diff_mean",
           "probabilities here, log-probabilities there"},
          {"sampling/sampling_logp_difference/max", "training/rollout_probs_diff_max",
           "probabilities here, log-probabilities there"},
          {"sampling/importance_sampling_ratio/mean", "rollout_corr/ratio_mean", "before truncation here"},
          {"sampling/importance_sampling_ratio/max", "rollout_corr/ratio_max", "before truncation here"},
          {"step_time", "timing_s/step"},
          {"num_tokens", "perf/total_num_tokens", "of the iteration here, running total there"}};
}

}  // namespace pan::metrics::internal
