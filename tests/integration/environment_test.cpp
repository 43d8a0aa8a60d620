// What the program makes of its environment.
#include <nlohmann/json.hpp>

#include "integration/cli_support.h"

namespace pan::testing {
namespace {

TEST_F(Cli, NamesAnInstructionSetThatIsNotThere) {
  for (const Words& words : {Words{"--version"}, Words{"generate", "--model", model(), "--prompt", "a"}})
    expect_error(pan_behind("PAN_ISA=foo ", words), 2,
                 {"unknown instruction set", "PAN_ISA", "baseline, avx2, avx512, avx512_bf16 or amx",
                  "got foo", "Unset PAN_ISA"});
}

TEST_F(Cli, UsesTheInstructionSetThatIsAskedFor) {
  const Result lesser = pan_behind("PAN_ISA=baseline ", {"--version"});
  EXPECT_EQ(lesser.code, 0) << lesser.err;
  EXPECT_NE(lesser.out.find("instruction set baseline"), std::string::npos) << lesser.out;
  // What --version names can be asked for.
  const std::string whole = pan({"--version"}).out, key = "instruction set ";
  const std::string best = whole.substr(whole.find(key) + key.size());
  const Result asked = pan_behind("PAN_ISA=" + best.substr(0, best.find('\n')) + " ", {"--version"});
  EXPECT_EQ(asked.code, 0) << asked.err;
  EXPECT_EQ(asked.out, whole);
}

// libgomp says what it was loaded with; a LibTorch built with another OpenMP says nothing of the kind.
TEST_F(Cli, IdleThreadsSleepUnlessTheUserSaysOtherwise) {
  const std::string verbose = "env -u GOMP_SPINCOUNT -u OMP_WAIT_POLICY OMP_DISPLAY_ENV=verbose ";
  const Result short_spins = pan_behind(verbose, {"--version"});
  EXPECT_NE(short_spins.out.find("pan-ppo "), std::string::npos) << short_spins.out;
  if (short_spins.err.find("GOMP_SPINCOUNT") == std::string::npos) return;
  EXPECT_NE(short_spins.err.find("GOMP_SPINCOUNT = '1000'"), std::string::npos) << short_spins.err;
  const Result own = pan_behind(verbose + "GOMP_SPINCOUNT=77 ", {"--version"});
  EXPECT_NE(own.err.find("GOMP_SPINCOUNT = '77'"), std::string::npos) << own.err;
  EXPECT_EQ(own.err.find("GOMP_SPINCOUNT = '1000'"), std::string::npos) << own.err;
}

TEST_F(Cli, WarnsWhereBfloat16IsEmulated) {
  const Words words = {"train", "--config", write_config(), "--run-dir", path("run"), "--dry-run", "--set"};
  const auto warns = [&](const std::string& isa, const std::string& type) {
    Words all = words;
    all.push_back("model.dtype=" + type);
    const Result r = pan_behind("PAN_ISA=" + isa + " ", all);
    EXPECT_EQ(r.code, 0) << r.err;
    return r.err.find("warning: this processor has no bfloat16 arithmetic and emulates it") !=
           std::string::npos;
  };
  EXPECT_TRUE(warns("baseline", "bfloat16"));
  EXPECT_FALSE(warns("baseline", "float32"));
  const bool native = pan({"--version"}).out.find("instruction set avx512_bf16") != std::string::npos ||
                      pan({"--version"}).out.find("instruction set amx") != std::string::npos;
  EXPECT_FALSE(native && warns("avx512_bf16", "bfloat16"));
}

TEST_F(Cli, BlamesTheFlagOrTheLineOfTheFile) {
  const std::string config = write_config();
  const auto eval = [&](const Words& more) {
    Words words = {"eval", "--model", model(), "--config", config, "--output", path("out")};
    words.insert(words.end(), more.begin(), more.end());
    return pan(words);
  };
  expect_error(eval({"--limit", "-3"}), 2, {"in --limit, at /eval/num_problems", "got -3"});
  expect_error(eval({"--set", "eval.temperature=-1"}), 2, {"in --set, at /eval/temperature", "got -1"});
  replace_in(config, "\"at_start\": true", "\"at_start\": 3");
  expect_error(eval({}), 2, {config, "/eval/at_start, line "});
  expect_error(pan({"tasks", "show", "--task", "gsm9k"}), 2,
               {"no task of this name", "--task", "got gsm9k", "Did you mean gsm8k?"});
}

TEST_F(Cli, SaysThatASystemTextNeedsTheTemplate) {
  const Result r = pan({"generate", "--model", model(), "--prompt", "a", "--system", "b", "--threads", "1",
                        "--max-new-tokens", "1"});
  expect_error(r, 2, {"--system requires --chat", "pan-ppo generate --help"});
}

}  // namespace
}  // namespace pan::testing
