// The file of an experiment: merging, arms, comparisons, and mistakes that are found before anything is run.
#include "experiment/experiment_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiment/made_experiment.h"

namespace pan::experiment {
namespace {

using core::Json;
using pan::testing::MadeExperiment;
using pan::testing::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Merge, TakesNamesDottedPathsAndPointers) {
  Json tree = {{"rhythm", {{"lambda", 0.1}, {"z", {{"clip", 3}}}}}, {"seed", 1}};
  merge(tree,
        {{"rhythm.lambda", 0},
         {"/rhythm/z/clip", 2},
         {"rhythm", {{"z", {{"decay", 0.9}}}}},
         {"new.deep.er", 1}},
        "the test");
  EXPECT_EQ(tree, (Json{{"rhythm", {{"lambda", 0}, {"z", {{"clip", 2}, {"decay", 0.9}}}}},
                        {"seed", 1},
                        {"new", {{"deep", {{"er", 1}}}}}}));
}

TEST(Merge, RefusesAPathThroughAValue) {
  Json tree = {{"seed", 1}};
  EXPECT_THAT(message_of([&] {
                merge(tree, {{"seed.x", 1}}, "the test");
              }),
              AllOf(HasSubstr("goes through a plain value"), HasSubstr("the test"), HasSubstr("seed.x")));
  EXPECT_THAT(message_of([&] { merge(tree, {{"a..b", 1}}, "the test"); }), HasSubstr("empty name"));
}

TEST(ExperimentFile, GivesEveryArmTheBaseTheSharedChangesAndItsOwn) {
  MadeExperiment made;
  made.json()["set"] = {{"train.iterations", 7}};
  made.json()["arms"]["paid"] = {{"rhythm", {{"lambda", 0.2}}}, {"train.samples_per_prompt", 4}};
  const Experiment e = made.load({"seeds=[4,5,6]"});
  EXPECT_THAT(e.config.seeds, ElementsAre(4, 5, 6));
  ASSERT_EQ(e.arms.size(), 2u);
  const Json paid = Json::parse(e.arms[1].config);
  EXPECT_EQ(paid["train"]["iterations"], 7);
  EXPECT_EQ(paid["train"]["samples_per_prompt"], 4);
  EXPECT_EQ(paid["rhythm"]["lambda"], 0.2);
  EXPECT_EQ(Json::parse(e.base)["train"]["samples_per_prompt"], 2);
  EXPECT_EQ(Json::parse(e.arms[1].changes),
            (Json{{"rhythm", {{"lambda", 0.2}}}, {"train", {{"samples_per_prompt", 4}}}}));
}

TEST(ExperimentFile, ComparesWithTheBaselineUnlessToldOtherwise) {
  MadeExperiment made;
  made.json()["arms"]["one"] = {{"rhythm.lambda", 0.2}, {"against", "paid"}};
  made.json()["arms"]["two"] = {{"rhythm.lambda", 0.3}, {"against", {"base", "paid"}}};
  made.json()["arms"]["alone"] = {{"rhythm.lambda", 0.4}, {"against", Json::array()}};
  const Experiment e = made.load();
  EXPECT_THAT(e.arms[0].against, IsEmpty());
  EXPECT_THAT(e.arms[1].against, ElementsAre("base"));
  EXPECT_THAT(e.arms[2].against, ElementsAre("paid"));
  EXPECT_THAT(e.arms[3].against, ElementsAre("base", "paid"));
  EXPECT_THAT(e.arms[4].against, IsEmpty());
}

TEST(ExperimentFile, RefusesAPairThatIsComparedTwice) {
  MadeExperiment made;
  made.json()["arms"]["base"]["against"] = "paid";
  EXPECT_THAT(message_of([&] { made.load(); }),
              AllOf(HasSubstr("two arms are compared twice"), HasSubstr("/arms/paid/against"),
                    HasSubstr("base is compared with paid already"), HasSubstr("Take base out")));
  made.json()["arms"]["base"].erase("against");
  made.json()["arms"]["paid"]["against"] = {"base", "base"};
  EXPECT_THAT(message_of([&] { made.load(); }), HasSubstr("two arms are compared twice"));
}

TEST(ExperimentFile, RefusesComparisonsThatCannotBe) {
  MadeExperiment made;
  const auto with = [&](const Json& against) {
    made.json()["arms"]["paid"]["against"] = against;
    return message_of([&] { made.load(); });
  };
  EXPECT_THAT(with("paid"), HasSubstr("cannot be compared with itself"));
  EXPECT_THAT(with("bse"), AllOf(HasSubstr("no such arm"), HasSubstr("Did you mean base?")));
  EXPECT_THAT(with(3), HasSubstr("the name of an arm, or a list of names"));
  EXPECT_THAT(with({"base", 3}), HasSubstr("the name of an arm, or a list of names"));
  EXPECT_THAT(with(Json::array()), HasSubstr("nothing is compared"));
}

TEST(ExperimentFile, RefusesArmsThatSetSeedOrThreads) {
  for (const char* key : {"seed", "/seed", "threads"}) {
    MadeExperiment made;
    made.json()["arms"]["paid"][key] = 3;
    EXPECT_THAT(message_of([&] { made.load(); }),
                AllOf(HasSubstr("is set by the experiment"), HasSubstr("/arms/paid/"), HasSubstr("instead")))
        << key;
    MadeExperiment shared;
    shared.json()["set"] = {{key, 3}};
    EXPECT_THAT(message_of([&] { shared.load(); }), HasSubstr("/set/")) << key;
  }
}

TEST(ExperimentFile, FindsBadFiguresBeforeAnythingIsRun) {
  MadeExperiment made;
  made.json()["metric"] = "eval/acuracy";
  EXPECT_THAT(message_of([&] { made.load(); }), AllOf(HasSubstr("/metric"), HasSubstr("got eval/acuracy"),
                                                      HasSubstr("Did you mean eval/accuracy?")));
  made.json()["metric"] = "reward/accuracy";
  EXPECT_THAT(message_of([&] { made.load(); }), HasSubstr("figure of the last evaluation"));
  made.json()["metric"] = "eval/score/cell";
  made.json()["curves"] = {"eval/accuracy", "rhythm/rewrd/mean"};
  EXPECT_THAT(message_of([&] { made.load(); }),
              AllOf(HasSubstr("/curves/1"), HasSubstr("Did you mean rhythm/reward/mean?")));
}

TEST(ExperimentFile, NamesABaseThatIsNotThere) {
  MadeExperiment made;
  made.json()["base"] = "configs/nowhere.json";
  EXPECT_THAT(message_of([&] { made.load(); }),
              AllOf(HasSubstr("no such base configuration"), HasSubstr("configs/nowhere.json"),
                    HasSubstr("working folder")));
}

TEST(ExperimentFile, RefusesOtherMistakes) {
  const auto with = [](const std::string& key, const Json& value) {
    MadeExperiment made;
    made.json()[key] = value;
    return message_of([&] { made.load(); });
  };
  EXPECT_THAT(with("seeds", Json::array()), HasSubstr("needs seeds"));
  EXPECT_THAT(with("seeds", {1, 1}), HasSubstr("needs seeds, each once"));
  EXPECT_THAT(with("baseline", "bas"), HasSubstr("Did you mean base?"));
  EXPECT_THAT(with("arms", {{"base", Json::object()}}), HasSubstr("two or more"));
  EXPECT_THAT(with("arms", {{"base", Json::object()}, {"../x", Json::object()}}),
              HasSubstr("that of a folder"));
  EXPECT_THAT(with("output", ""), HasSubstr("needs a folder"));
  EXPECT_THAT(with("paralel", 2), HasSubstr("parallel"));
}

}  // namespace
}  // namespace pan::experiment
