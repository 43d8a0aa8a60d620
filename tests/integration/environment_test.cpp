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

}  // namespace
}  // namespace pan::testing
