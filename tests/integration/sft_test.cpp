// Supervised runs: their evaluation, their README, a resume with other settings, their guard.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "integration/cli_support.h"

namespace pan::testing {
namespace {

namespace fs = std::filesystem;

class Sft : public Cli {
 protected:
  Words words(const std::string& name, const Words& more = {}) const {
    Words all = {"sft", "--config", source_path("configs/quickstart_sft_1.json"), "--run-dir", path(name)};
    Words sets = {"threads=1",         "model.path=" + source_path("data/quickstart"),
                  "init.num_layers=1", "init.hidden_size=32",
                  "sft.batch_size=2",  "eval.every=0",
                  "sft.steps=2",       "optimizer.schedule=constant",
                  "checkpoint.every=0"};
    sets.insert(sets.end(), more.begin(), more.end());
    for (const std::string& set : sets) all.insert(all.end(), {"--set", set});
    return all;
  }
};

TEST_F(Sft, EvaluatesAsItsReadmeSays) {
  ASSERT_EQ(pan(words("run")).code, 0);
  const std::string readme = read_text(path("run/README.md"));
  EXPECT_NE(readme.find("pan-ppo eval --model"), std::string::npos);
  for (const char* absent : {"rollouts.jsonl", "tensorboard", "critic"})
    EXPECT_EQ(readme.find(absent), std::string::npos) << absent;
  const Result r = pan({"eval", "--model", path("run"), "--output", path("eval"), "--limit", "2", "--set",
                        "rollout.max_new_tokens=8"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_TRUE(fs::exists(path("eval/results.json")));
}

TEST_F(Sft, ResumeWithOtherSettingsNeedsAllowChange) {
  ASSERT_EQ(pan(words("run")).code, 0);
  const Words change = {"resume", path("run"), "--set", "optimizer.lr=0.5",
                        "--set",  "seed=9",    "--set", "sft.steps=3"};
  expect_error(pan(change), 2, {"/optimizer/lr", "-> 0.5", "/seed", "-> 9", "--allow-change"});
  Words allowed = change;
  allowed.push_back("--allow-change");
  const Result r = pan(allowed);
  EXPECT_EQ(r.code, 0) << r.err;
  const core::Json config = core::Json::parse(read_text(path("run/config.json")));
  EXPECT_EQ(config["seed"], 9);
  EXPECT_EQ(config["sft"]["steps"], 3);
  EXPECT_EQ(pan({"resume", path("run"), "--set", "sft.steps=4"}).code, 0);
}

TEST_F(Sft, RefusesPairsLongerThanTheContext) {
  expect_error(pan(words("run", {"init.max_positions=64", "sft.max_tokens=65"})), 2,
               {"/sft/max_tokens", "expected at most 64", "got 65"});
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(Sft, TakesPairsUpToTheContextOfAShortModel) {
  EXPECT_EQ(pan(words("run", {"init.max_positions=256", "sft.max_tokens=0"})).code, 0);
}

TEST_F(Sft, HasARunFolderByDefault) {
  Words all = words("run");
  all.erase(all.begin() + 3, all.begin() + 5);
  ASSERT_EQ(pan_behind("cd '" + path("") + "' && ", all).code, 0);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path("runs"))) names.push_back(entry.path().filename());
  ASSERT_EQ(names.size(), 1u);
  EXPECT_EQ(names[0].rfind("quickstart_sft_1-20", 0), 0u) << names[0];
  all.push_back("--auto-resume");
  expect_error(pan(all), 2, {"--auto-resume needs --run-dir", "pan-ppo sft"});
}

TEST_F(Sft, RefusesWhatTrainRefuses) {
  expect_error(pan(words("run", {"eval.samples=4"})), 2, {"in --set", "/eval/samples", "eval.temperature"});
  expect_error(pan(words("run", {"checkpoint.metric=foo"})), 2,
               {"in --set", "/checkpoint/metric", "\"foo\""});
  expect_error(pan(words("run", {"checkpoint.metric=eval/acuracy"})), 2, {"Did you mean \"eval/accuracy\"?"});
  expect_error(pan(words("run", {"task.sizes=[\"2by4\"]"})), 2, {"in --set", "2by4"});
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(Sft, SaysWhereASettingThatCannotBeOpenedStands) {
  expect_error(pan(words("run", {"sft.max_tokens=4096"})), 2, {"in --set", "/sft/max_tokens, from --set"});
  expect_error(pan(words("run", {"prompt.template=custom"})), 2,
               {"in " + source_path("configs/quickstart_sft_1.json"), "/prompt/custom, its default"});
  write_text(path("pairs.jsonl"), "{\"prompt\": \"1 + 1\", \"answer\": \"2\"}\n");
  const core::Json pairs = path("pairs.jsonl");
  const core::Json task = {
      {"name", "jsonl"}, {"match", "regex"}, {"train_path", pairs}, {"eval_path", pairs}};
  write_text(path("sft.json"), "{\"model\": {\"path\": " + core::Json(model()).dump() +
                                   "},\n \"sft\": {\"max_tokens\": 4096},\n \"task\": " + task.dump() + "}");
  const Words from_file = {"sft", "--config", path("sft.json"), "--run-dir", path("run")};
  expect_error(pan(from_file), 2, {"in " + path("sft.json"), "/task/pattern, its default"});
  Words any_match = from_file;
  any_match.insert(any_match.end(), {"--set", "task.match=exact"});
  expect_error(pan(any_match), 2, {"in " + path("sft.json"), "/sft/max_tokens, line 2"});
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(Sft, NamesIdleSettings) {
  const Result r =
      pan(words("run", {"eval.top_p=0.5", "eval.every=2", "eval.num_problems=1", "eval_max_new_tokens=4",
                        "eval.max_new_tokens=5", "checkpoint.keep_best=0", "checkpoint.better=lower"}));
  ASSERT_EQ(r.code, 0) << r.err;
  for (const char* part : {"/eval/top_p: has no effect with eval.temperature = 0",
                           "/eval_max_new_tokens: has no effect with eval.max_new_tokens above 0",
                           "/checkpoint/better: has no effect with checkpoint.keep_best = 0\n"})
    EXPECT_NE(r.err.find(part), std::string::npos) << part << " in " << r.err;
  EXPECT_NE(
      pan(words("other", {"init.hidden_size=0"})).err.find("/init/num_layers: has no effect with init."),
      std::string::npos);
}

TEST_F(Sft, GuardStopsWithACheckpoint) {
  const Result r = pan(words("run", {"optimizer.lr=1e30", "sft.steps=20", "optimizer.warmup_steps=0"}));
  const bool kept = fs::exists(path("run/checkpoints/latest/policy/model.safetensors"));
  expect_error(r, 6,
               {"steps in a row", "optimizer.grad_clip", "pan-ppo resume " + path("run"),
                kept ? "holds the weights as they are" : "not kept"});
}

TEST_F(Sft, FullDiskUnderTheLogIsOneError) {
  ASSERT_EQ(pan(words("run")).code, 0);
  fs::remove(path("run/log.txt"));
  fs::create_symlink("/dev/full", path("run/log.txt"));
  expect_error(pan({"resume", path("run"), "--set", "sft.steps=3"}), 4,
               {"log.txt", "expected free space", "checkpoint of step 2 is untouched",
                "pan-ppo resume " + path("run")});
}

}  // namespace
}  // namespace pan::testing
