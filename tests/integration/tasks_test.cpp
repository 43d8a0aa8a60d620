// Prompts, mixes and reward programs as a person meets them on the command line.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/json.h"
#include "integration/cli_support.h"
#include "support/support.h"

namespace pan::testing {
namespace {

using core::Json;

const char* const kMix =
    R"(task={"name":"mix","parts":[{"name":"logic_grid","sizes":["2x2"],"prompt_style":"compact"},)"
    R"({"name":"logic_grid","label":"wide","weight":3,"sizes":["2x3"],"prompting":"direct"}]})";

TEST_F(Cli, ShowsPromptsOfATask) {
  const Result r = pan({"tasks", "show", "--set", kMix, "--count", "8", "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  std::istringstream lines(r.out);
  int wide = 0, rows = 0;
  for (std::string line; std::getline(lines, line); ++rows) {
    const Json row = Json::parse(line);
    wide += row["group"] == "wide/2x3";
    EXPECT_FALSE(row["prompt"].get<std::string>().empty());
  }
  EXPECT_EQ(rows, 8);
  EXPECT_EQ(wide, 6);
  const Result text =
      pan({"tasks", "show", "--config", write_config(), "--set", "task.few_shot=1", "--split", "eval"});
  EXPECT_NE(text.out.find("--- an answer ends before \"\\n\\n\""), std::string::npos) << text.out << text.err;
  expect_error(pan({"tasks", "show"}), 2, {"no task is named", "--task"});
  expect_error(pan({"tasks", "show", "--config", write_config(), "--split", "eval", "--index", "500"}), 2,
               {"there are no such problems", "500"});
}

TEST_F(Cli, RefusesSeedsThatAreNone) {
  for (const std::string seed : {"-1", "99999999999999999999", "x", "1.5"})
    expect_error(pan({"tasks", "logic-grid", "--size", "2x2", "--count", "1", "--seed", seed, "--output",
                      path("grids.jsonl")}),
                 2, {"--seed", seed});
  expect_error(pan({"tasks", "logic-grid", "--count", "0", "--output", path("grids.jsonl")}), 2, {"--count"});
  EXPECT_EQ(pan({"tasks", "logic-grid", "--size", "2x2", "--count", "1", "--seed", "9223372036854775807",
                 "--output", path("grids.jsonl")})
                .code,
            0);
}

TEST_F(Cli, NamesTheLineOfABadPart) {
  write_text(
      path("mix.json"),
      "{\"task\": {\"name\": \"mix\", \"parts\": [\n{\"name\": \"logic_grid\"},\n{\"name\": \"gsm8k\",\n"
      "\"sizes\": [\"2x2\"]}]}}\n");
  expect_error(pan({"config", "print", "--config", path("mix.json")}), 2,
               {"/task/parts/1/sizes, line 4", "mix.json", "label, weight"});
}

TEST_F(Cli, SaysHowARewardProgramFailedAndGoesOnAfterIt) {
  // It dies in the batch of the second iteration as long as the mark is there.
  write_text(path("mark"), "");
  const std::string program =
      "n=0; while read -r line; do case $line in *'\"left\":0}') n=$((n+1));; esac; x=${line#*\\\"id\\\":};"
      "[ -e " +
      path("mark") +
      " ] && [ \"${x%%,*}\" -ge 8 ] && { echo 'no judge' >&2; exit 7; };"
      "echo \"{\\\"id\\\":${x%%,*},\\\"reward\\\":1}\"; done";
  const Words words = {"--set", "reward.command=" + Json(program).dump(), "--set", "train.iterations=2"};
  const Result failed = train(words);
  expect_error(
      failed, 3,
      {"reward.command ended too early", "batch 2", "exit status 7", "no judge", "expected 8 lines"});
  EXPECT_TRUE(std::filesystem::exists(path("run") + "/checkpoints/latest"));
  std::filesystem::remove(path("mark"));
  const Result resumed = pan({"resume", path("run")});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  expect_error(train({"--dry-run", "--set", "reward.command=[\"/no/such/program\"]"}), 2,
               {"/reward/command", "from --set", "No such file"});
  expect_error(train({"--dry-run", "--set", "reward.command=7"}), 2, {"/reward/command", "python3"});
}

}  // namespace
}  // namespace pan::testing
