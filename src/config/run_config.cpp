#include "config/run_config.h"

namespace pan::config {

void describe(core::Fields& f, RunConfig& c) {
  f.integer("seed", c.seed, {.min = 0, .doc = "Decides every random number of the run."});
  f.integer(
      "threads", c.threads,
      {.min = 0,
       .max = 1024,
       .unit = "thread",
       .doc = "Processor threads; 0 = all that the process may use (affinity and cgroup quota). At most "
              "four for each of those."});
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
