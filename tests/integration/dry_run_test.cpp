// `train --dry-run` finds what would stop the run, and `train` finds it before it makes the run folder.
#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "integration/cli_support.h"

namespace pan::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

TEST_F(Cli, DryRunShowsThePlan) {
  const Result r = train({"--dry-run"});
  ASSERT_EQ(r.code, 0) << r.err;
  for (const char* part :
       {"4 prompts x 2 samples = 8 sequences", "minibatches of 4 = 2 minibatches", "optimizer steps in all",
        "memory plan:", "  peak, of ", "disk plan: checkpoints of", "everything is valid"})
    EXPECT_THAT(r.out, HasSubstr(part));
  EXPECT_FALSE(fs::exists(path("run")));
}

// Evaluations that the time limit lets never happen.
TEST_F(Cli, AMemoryPlanThatIsTooLargeIsRefusedByTheDryRunAndAWarningAtTheStart) {
  Words words;
  for (const char* set : {"eval.every=1000", "eval.at_start=false", "eval.num_problems=1000000000",
                          "eval.slots=1000000000", "train.time_limit_s=0.001"})
    words.insert(words.end(), {"--set", set});
  Words dry = words;
  dry.push_back("--dry-run");
  expect_error(train(dry), 5, {"the run does not fit into memory", "expected at most", "got a plan of"});
  const Result r = train(words);
  EXPECT_EQ(r.code, 0) << r.err;
  for (const char* part : {"warning: the run does not fit into memory", "got a plan of", "rollout.slots"}) {
    EXPECT_THAT(r.err, HasSubstr(part));
    EXPECT_THAT(read_text(path("run/log.txt")), HasSubstr(part));
  }
}

class BothWays : public Cli {
 protected:
  void expect_refused(const Words& more, int code, const Words& parts) {
    for (const bool dry : {true, false}) {
      Words words = more;
      if (dry) words.push_back("--dry-run");
      expect_error(train(words), code, parts);
      EXPECT_FALSE(fs::exists(path("run"))) << parts[0];
    }
  }
};

TEST_F(BothWays, EvalDataThatIsMissing) {
  fs::create_directories(path("gsm8k"));
  write_text(path("gsm8k/train.jsonl"), "{\"question\": \"What is 1 + 1?\", \"answer\": \"2\\n#### 2\"}\n");
  const std::string task = "task={\"name\": \"gsm8k\", \"path\": \"" + path("gsm8k") + "\"}";
  expect_refused({"--set", task, "--set", "eval.every=20"}, 3, {"test.jsonl"});
  EXPECT_EQ(train({"--set", task, "--dry-run"}).code, 0);
}

TEST_F(BothWays, ATemperatureThatSamplingDoesNotTake) {
  expect_refused({"--set", "rollout.temperature=1e-9"}, 2, {"/rollout/temperature", ">= 0.0001"});
}

TEST_F(BothWays, ACriticOfAnotherVocabulary) {
  fs::copy(model(), path("critic"), fs::copy_options::recursive);
  const core::Json arch = core::Json::parse(read_text(path("critic/config.json")));
  core::Json other = arch;
  other["vocab_size"] = arch.at("vocab_size").get<int64_t>() + 8;
  write_text(path("critic/config.json"), other.dump());
  expect_refused({"--set", "critic.path=" + path("critic")}, 3, {"another vocabulary", path("critic")});
  expect_refused({"--set", "critic.path=" + path("nowhere")}, 3, {"no such critic folder"});
}

TEST_F(BothWays, PromptAndAnswerLongerThanTheContext) {
  expect_refused({"--set", "rollout.max_new_tokens=100000"}, 2,
                 {"prompt and answer do not fit the model's context", "/train/max_prompt_tokens",
                  "/rollout/max_new_tokens, from --set", "+ 100000"});
}

TEST_F(BothWays, MoreThreadsThanMakeSense) {
  expect_refused({"--set", "threads=1024"}, 2, {"far fewer processors", "/threads"});
}

TEST_F(Cli, DryRunSeesThatTheFolderHoldsARun) {
  fs::create_directories(path("run/checkpoints"));
  write_text(path("run/config.json"), "{}");
  expect_error(train({"--dry-run"}), 2, {"holds a run already", path("run")});
  EXPECT_EQ(train({"--dry-run", "--auto-resume"}).code, 0);
}

}  // namespace
}  // namespace pan::testing
