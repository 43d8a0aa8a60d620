#include "config/run_config.h"

#include "core/error.h"
#include "train/length_curriculum_config.h"

namespace pan::config {

void describe(core::Fields& f, RunConfig& c) {
  f.integer("seed", c.seed, {.min = 0, .doc = "Decides every random number of the run."});
  f.integer("threads", c.threads,
            {.min = 0,
             .unit = "thread",
             .doc = "Processor threads; 0 = all that the process may use (affinity and cgroup quota)."});
  f.object("model", c.model, "The policy.");
  f.object("prompt", c.prompt, "How a problem becomes a prompt.");
  f.object("task", c.task, "What is asked and how answers are judged.");
  f.object("reward", c.reward, "A reward from a program instead of the task's.");
  f.object("train", c.train, "The training loop.");
  f.object("rollout", c.rollout, "Sampling of answers.");
  rl::describe(f, c.rl);
  f.object("rhythm", c.rhythm, "The rhythm reward and credit shaping.");
  f.object("eval", c.eval, "Evaluation during training.");
  f.object("checkpoint", c.checkpoint, "Checkpoints.");
}

std::vector<std::string> check(const RunConfig& c) {
  rhythm::check(c.rhythm);
  if (c.task.name == "mix") tasks::parts_of(c.task.mix);
  const bool has_command = !tasks::command_of(c.reward).empty();
  std::vector<std::string> notes =
      rl::check(c.rl, {c.sequences_per_iteration(), c.train.samples_per_prompt, c.rollout.max_new_tokens});
  for (const train::LengthStage& stage :
       train::length_stages(c.train.length_curriculum, c.rollout.max_new_tokens)) {
    PAN_CHECK(c.rl.advantage.overlong_buffer_tokens <= stage.max_new_tokens, kConfig,
              "the overlong buffer is longer than the longest response of a stage")
        .pointer("/advantage/overlong_buffer_tokens")
        .expected("at most the " + std::to_string(stage.max_new_tokens) +
                  " tokens of train.length_curriculum from iteration " + std::to_string(stage.from) + " on")
        .got(std::to_string(c.rl.advantage.overlong_buffer_tokens));
  }
  PAN_CHECK(c.rollout.temperature > 0, kConfig,
            "training cannot sample greedily: every answer to a prompt would be the same")
      .pointer("/rollout/temperature")
      .expected("> 0")
      .got("0")
      .remedy("Set rollout.temperature to 1.0");
  PAN_CHECK(
      !c.train.dynamic_sampling.enabled || c.train.samples_per_prompt > 1, kConfig,
      "with one answer a prompt, all answers to a prompt have the same reward and dynamic sampling drops all")
      .pointer("/train/dynamic_sampling/enabled")
      .expected("false, or train.samples_per_prompt >= 2")
      .got("true with train.samples_per_prompt = " + std::to_string(c.train.samples_per_prompt))
      .remedy("Raise train.samples_per_prompt or turn train.dynamic_sampling.enabled off");
  PAN_CHECK(c.eval.samples == 1 || c.eval.temperature > 0, kConfig,
            "several greedy answers to a problem are all the same")
      .pointer("/eval/samples")
      .expected("1, or eval.temperature > 0")
      .got(std::to_string(c.eval.samples))
      .remedy("Set eval.samples to 1, or eval.temperature to 1.0");
  PAN_CHECK(c.eval.every == 0 || c.checkpoint.metric.rfind("eval/", 0) == 0, kConfig,
            "only an evaluation can say which checkpoint is best")
      .pointer("/checkpoint/metric")
      .expected("a key of an evaluation, such as eval/accuracy (docs/metrics.md lists them)")
      .got("\"" + c.checkpoint.metric + "\"")
      .remedy("Set checkpoint.metric to eval/accuracy");
  if (c.rollout.top_k > 0 || c.rollout.top_p < 1)
    notes.push_back(
        "/rollout: top_k and top_p cut the distribution while training uses the full one; the gradient is "
        "biased. The cut mass "
        "is logged as rollout/cut_mass_mean");
  if (!c.model.lora.enabled() && (!c.model.lora.path.empty() || !c.model.lora.targets.empty()))
    notes.push_back("/model/lora: has no effect with model.lora.rank = 0");
  if (c.eval.every == 0 && c.train.early_stop_evals > 0)
    notes.push_back("/train/early_stop_evals: has no effect with eval.every = 0");
  if (!has_command && c.reward.task_weight != 0)
    notes.push_back("/reward/task_weight: has no effect without reward.command");
  if (!c.rhythm.enabled && c.rhythm.lambda > 0 && c.rhythm.lambda != rhythm::RhythmConfig{}.lambda)
    notes.push_back("/rhythm/lambda: has no effect with rhythm.enabled = false");
  if (!c.rhythm.enabled && c.rhythm.credit != rhythm::Credit::kNone)
    notes.push_back(
        "/rhythm/credit: has no effect with rhythm.enabled = false; rhythm.lambda = 0 keeps credit without "
        "the reward");
  if (c.rhythm.control != rhythm::Control::kNone && (!c.rhythm.enabled || c.rhythm.lambda == 0))
    notes.push_back("/rhythm/control: has no effect where rhythm.enabled is false or rhythm.lambda is 0");
  return notes;
}

std::vector<std::string> batch_arithmetic(const RunConfig& c) {
  const int64_t sequences = c.sequences_per_iteration();
  const int64_t minibatches = sequences / c.rl.ppo.minibatch_size;
  auto n = [](int64_t x) { return std::to_string(x); };
  return {
      n(c.train.prompts_per_iteration) + " prompts x " + n(c.train.samples_per_prompt) +
          " samples = " + n(sequences) + " sequences per iteration",
      n(sequences) + " sequences / minibatches of " + n(c.rl.ppo.minibatch_size) + " = " + n(minibatches) +
          " minibatches x " + n(c.rl.ppo.epochs) + " epochs = " + n(minibatches * c.rl.ppo.epochs) +
          " optimizer steps per iteration",
      n(c.train.iterations) + " iterations = " + n(sequences * c.train.iterations) + " sequences, " +
          n(minibatches * c.rl.ppo.epochs * c.train.iterations) + " optimizer steps in all",
  };
}

}  // namespace pan::config
