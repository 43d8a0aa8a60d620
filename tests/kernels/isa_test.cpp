// The choice of instruction set.
#include "kernels/isa.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "support/support.h"

namespace pan::kernels {
namespace {

constexpr IsaSet kFull{Isa::avx512, true, false};

TEST(Isa, IsTheBestOneOrTheOneAskedFor) {
  const char* wanted = std::getenv("PAN_ISA");
  const std::string expected = wanted != nullptr && *wanted != '\0' ? wanted : detect_isa().name();
  EXPECT_EQ(active_isa_set().name(), expected);
  EXPECT_LE(active_isa(), best_isa());
}

TEST(Isa, OverrideChoosesLessButNeverMore) {
  EXPECT_EQ(choose_isa("", kFull).name(), "avx512_bf16");
  EXPECT_EQ(choose_isa("avx512", kFull).name(), "avx512");
  EXPECT_EQ(choose_isa("avx2", kFull).level, Isa::avx2);
  EXPECT_EQ(choose_isa("baseline", kFull).level, Isa::baseline);
  EXPECT_EQ(choose_isa("avx512_bf16", {Isa::avx512, true, true}).name(), "avx512_bf16");
  EXPECT_THROW(choose_isa("avx512", {Isa::avx2, false, false}), c10::ValueError);
}

TEST(Isa, OverrideTurnsBf16CodeOffToo) {
  EXPECT_TRUE(choose_isa("", kFull).bf16);
  EXPECT_FALSE(choose_isa("avx512", kFull).bf16);
  EXPECT_TRUE(choose_isa("avx512_bf16", {Isa::avx512, true, true}).bf16);
  EXPECT_FALSE(choose_isa("avx512_bf16", {Isa::avx512, true, true}).amx);
}

TEST(Isa, EveryNameThatDetectionGivesIsTaken) {
  const IsaSet everything{Isa::avx512, true, true};
  for (const char* name : {"baseline", "avx2", "avx512", "avx512_bf16", "amx"}) {
    EXPECT_EQ(choose_isa(name, everything).name(), name);
    EXPECT_FALSE(isa_problem(name, everything).has_value()) << name;
  }
}

TEST(Isa, AProblemSaysWhatIsWrong) {
  EXPECT_FALSE(isa_problem("", kFull).has_value());
  for (const char* wrong : {"sse9", "AVX2", " avx2"}) {
    const auto problem = isa_problem(wrong, kFull);
    ASSERT_TRUE(problem.has_value()) << wrong;
    EXPECT_EQ(problem->what, "unknown instruction set");
    EXPECT_EQ(problem->expected, "baseline, avx2, avx512, avx512_bf16 or amx");
    EXPECT_EQ(problem->got, wrong);
  }
  const auto problem = isa_problem("amx", kFull);
  ASSERT_TRUE(problem.has_value());
  EXPECT_EQ(problem->what, "the processor does not have this instruction set");
  EXPECT_EQ(problem->expected, "at most avx512_bf16");
}

TEST(Isa, DetectionAgreesWithTheKernel) {
  const std::string info = testing::read_text("/proc/cpuinfo");
  if (info.find("flags\t") == std::string::npos) GTEST_SKIP() << "not an x86 processor";
  const auto has = [&](const std::string& flag) {
    return (info + " ").find(" " + flag + " ") != std::string::npos;
  };
  const IsaSet found = detect_isa();
  EXPECT_EQ(found.level >= Isa::avx2, has("avx2") && has("fma") && has("f16c"));
  EXPECT_EQ(found.level >= Isa::avx512,
            has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl"));
  EXPECT_EQ(found.bf16, has("avx512_bf16"));
  EXPECT_EQ(found.amx, has("amx_bf16"));
}

// The choice is made once in a process, so wrong names are tried in fresh ones.
void try_isa(const char* name) {
  setenv("PAN_ISA", name, 1);
  try {
    active_isa();
    std::exit(0);
  } catch (const c10::ValueError& error) {
    std::fputs(error.what_without_backtrace(), stderr);
    std::exit(7);
  }
}

TEST(IsaDeathTest, AnUnknownNameIsRefusedAndBaselineIsNot) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(try_isa("avx3"), ::testing::ExitedWithCode(7), "PAN_ISA=avx3: unknown instruction set");
  EXPECT_EXIT(try_isa("baseline"), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace pan::kernels
