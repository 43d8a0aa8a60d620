// What is run and where, what is shared, and which arms cannot be compared.
#include "experiment/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "config/load.h"
#include "core/file.h"
#include "experiment/made_experiment.h"
#include "experiment/provenance.h"

namespace pan::experiment {
namespace {

using core::Json;
using pan::testing::MadeExperiment;
using pan::testing::message_of;
using pan::testing::write_text;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string id_of(const MadeExperiment& made, const std::string& program = "pan-ppo 1") {
  return made.plan(program).evaluations.at(0).id;
}

TEST(Plan, HasACellForEachArmAndSeed) {
  MadeExperiment made;
  const Plan plan = made.plan();
  ASSERT_EQ(plan.cells.size(), 4u);
  EXPECT_EQ(plan.cells[0].name, "base, seed 1");
  EXPECT_EQ(plan.cells[1].name, "paid, seed 1");
  EXPECT_EQ(plan.cells[2].name, "base, seed 2");
  EXPECT_EQ(plan.cells[3].folder, made.path("out/runs/paid/seed_2"));
  EXPECT_EQ(plan.cells[3].config.seed, 2);
  EXPECT_EQ(plan.cells[3].config.threads, 1);
  for (const Cell& cell : plan.cells) EXPECT_FALSE(cell.config.eval.at_start);
  EXPECT_EQ(num_tests(plan), 1);
  EXPECT_THAT(plan.notes, IsEmpty());
}

TEST(Plan, SharesTheEvaluationBeforeTraining) {
  MadeExperiment made;
  const Plan plan = made.plan();
  ASSERT_EQ(plan.evaluations.size(), 1u);
  for (const Cell& cell : plan.cells) EXPECT_EQ(cell.start, 0);
  // Sampled answers depend on the seed.
  made.json()["base"]["eval"]["temperature"] = 1;
  EXPECT_EQ(made.plan().evaluations.size(), 2u);
}

TEST(Plan, AnEvaluationIsKnownByWeightsAndProgramToo) {
  MadeExperiment made;
  const std::string before = id_of(made);
  EXPECT_EQ(id_of(made), before);
  EXPECT_NE(id_of(made, "pan-ppo 2"), before);
  write_text(made.path("model.safetensors"), "some weighte");
  EXPECT_NE(id_of(made), before);
}

TEST(Plan, StopsAtOnceWhereThereIsNoModel) {
  MadeExperiment made;
  made.json()["base"]["model"]["path"] = made.path("nowhere");
  EXPECT_THAT(message_of([&] { made.plan(); }), AllOf(HasSubstr("no such model folder"), HasSubstr("nowhere"),
                                                      HasSubstr("set.model.path=DIR")));
  pan::testing::TempFolder empty;
  made.json()["base"]["model"]["path"] = empty.path();
  EXPECT_THAT(message_of([&] { made.plan(); }), HasSubstr("holds no weights"));
}

TEST(Plan, RefusesARunOfOtherWeights) {
  MadeExperiment made;
  const Plan plan = made.plan();
  const Cell& cell = plan.cells[0];
  core::disk().make_folders(cell.folder);
  core::disk().make_folders(made.path("out/origins"));
  write_text(cell.folder + "/config.json", config::resolved(cell.config).dump());
  write_origin(origin_path(plan, cell), {.programs = {"pan-ppo 1"}, .models = plan.models});
  EXPECT_EQ(read_origin(origin_path(plan, cell)), (Origin{{"pan-ppo 1"}, plan.models}));
  EXPECT_EQ(state_of(plan, cell).progress, Progress::kStopped);
  write_text(made.path("model.safetensors"), "other weights");
  const Plan after = made.plan();
  EXPECT_THAT(message_of([&] { state_of(after, after.cells[0]); }),
              AllOf(HasSubstr("made from other weights"), HasSubstr(cell.folder)));
}

TEST(Plan, RefusesARunOfOtherSettings) {
  MadeExperiment made;
  const Plan plan = made.plan();
  core::disk().make_folders(plan.cells[0].folder);
  write_text(plan.cells[0].folder + "/config.json", config::resolved(plan.cells[0].config).dump());
  made.json()["base"]["optimizer"] = {{"lr", 0.5}};
  const Plan after = made.plan();
  EXPECT_THAT(message_of([&] { state_of(after, after.cells[0]); }),
              AllOf(HasSubstr("made with other settings"), HasSubstr("/optimizer/lr"), HasSubstr("0.5")));
}

TEST(SameProblems, RefuseTrainedArmsThatGoTheirOwnWay) {
  const std::vector<std::pair<const char*, Json>> changes = {
      {"task.seed", 2},
      {"task.sizes", {"2x3"}},
      {"task.prompting", "direct"},
      {"task.cell_weight", 0.5},
      {"prompt.template", "plain"},
      {"train.iterations", 6},
      {"train.prompts_per_iteration", 8},
      {"train.max_prompt_tokens", 100},
      {"train.overlong_prompts", "skip"},
      {"eval.num_problems", 4},
      {"eval.temperature", 0.5},
      {"eval.max_new_tokens", 7},
      {"rollout.max_new_tokens", 7},  // which is that of evaluations as well
      {"rollout.stop_strings", {"x"}}};
  for (const auto& [key, value] : changes) {
    MadeExperiment made;
    made.json()["arms"]["paid"][key] = value;
    EXPECT_THAT(message_of([&] { made.plan(); }),
                AllOf(HasSubstr("the same problems in the same order"), HasSubstr("arm paid"),
                      HasSubstr("as in the base"), HasSubstr("Put the change into `set`")))
        << key;
  }
}

TEST(SameProblems, LetAlgorithmsDiffer) {
  const std::vector<std::pair<const char*, Json>> changes = {{"advantage.estimator", "grpo"},
                                                             {"train.samples_per_prompt", 4},
                                                             {"optimizer.lr", 0.1},
                                                             {"rollout.temperature", 0.7},
                                                             {"eval.slots", 2},
                                                             {"rhythm.credit", "coupled"}};
  for (const auto& [key, value] : changes) {
    MadeExperiment made;
    made.json()["arms"]["paid"][key] = value;
    EXPECT_EQ(message_of([&] { made.plan(); }), "no error") << key;
  }
}

TEST(SameProblems, LetPromptingDifferWhereNothingIsTrained) {
  MadeExperiment made;
  made.json()["arms"]["direct"] = {{"evaluate_only", true}, {"task.prompting", "direct"}};
  made.json()["arms"]["shots"] = {
      {"evaluate_only", true}, {"task.few_shot", 2}, {"against", {"direct", "base"}}};
  const Plan plan = made.plan();
  EXPECT_EQ(plan.evaluations.size(), 3u);
  EXPECT_TRUE(is_one_evaluation(plan, 2));
  EXPECT_FALSE(is_one_evaluation(plan, 0));
  EXPECT_EQ(num_tests(plan), 3);  // paid, direct and shots against base; shots against direct has no seeds
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"task.seed", 2}, {"task.sizes", {"2x3"}}, {"eval.num_problems", 2}, {"task.cell_weight", 0.5}}) {
    MadeExperiment other;
    other.json()["arms"]["direct"] = {{"evaluate_only", true}, {key, value}};
    EXPECT_THAT(message_of([&] { other.plan(); }), HasSubstr("the same problems")) << key;
  }
}

TEST(Notes, SpeakOfWhatAnArmSetsAndNotOfWhatItInherits) {
  MadeExperiment made;
  made.json()["base"]["advantage"] = {{"lambda", 0.9}};
  made.json()["arms"]["grpo"] = {{"advantage.estimator", "grpo"}};
  EXPECT_THAT(made.plan().notes, IsEmpty());
  made.json()["arms"]["grpo"]["advantage.lambda"] = 0.8;
  EXPECT_THAT(made.plan().notes, ElementsAre(AllOf(HasSubstr("arm grpo"), HasSubstr("/advantage/lambda"))));
  made.json()["arms"].erase("grpo");
  made.json()["base"]["ppo"]["policy_loss"] = "cispo";
  made.json()["base"]["ppo"]["dual_clip"] = 5;
  EXPECT_THAT(made.plan().notes, ElementsAre(AllOf(HasSubstr("all arms"), HasSubstr("/ppo/dual_clip"))));
}

TEST(Notes, WarnOfDynamicSamplingAndOfAGuardThatCannotWarn) {
  MadeExperiment made;
  made.json()["arms"]["paid"]["train.dynamic_sampling.enabled"] = true;
  EXPECT_THAT(made.plan().notes, ElementsAre(AllOf(HasSubstr("arm paid"), HasSubstr("sees other prompts"))));
  made.json()["arms"]["paid"] = {{"rhythm.guard_window", 6}};
  EXPECT_THAT(made.plan().notes, ElementsAre(HasSubstr("no run can warn of reward hacking")));
}

TEST(Plan, RefusesRunsWithoutALastEvaluation) {
  const auto with = [](const char* key, const Json& value) {
    MadeExperiment made;
    made.json()["set"] = {{key, value}};
    return message_of([&] { made.plan(); });
  };
  EXPECT_THAT(with("eval.every", 0), HasSubstr("/eval/every"));
  EXPECT_THAT(with("train.iterations", 0), HasSubstr("nothing is trained"));
  EXPECT_THAT(with("train.early_stop_evals", 2), HasSubstr("different length"));
  EXPECT_THAT(with("train.time_limit_s", 2), HasSubstr("/train/time_limit_s"));
}

}  // namespace
}  // namespace pan::experiment
