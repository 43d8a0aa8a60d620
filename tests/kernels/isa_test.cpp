// The choice of instruction set.
#include "kernels/isa.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace pan::kernels {
namespace {

TEST(Isa, IsTheBestOneOrTheOneAskedFor) {
  const char* wanted = std::getenv("PAN_ISA");
  const std::string expected = wanted != nullptr && *wanted != '\0' ? wanted : isa_name(best_isa());
  EXPECT_EQ(isa_name(active_isa()), expected);
  EXPECT_LE(active_isa(), best_isa());
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
  EXPECT_EXIT(try_isa("avx3"), ::testing::ExitedWithCode(7),
              "PAN_ISA=avx3: expected baseline, avx2 or avx512");
  EXPECT_EXIT(try_isa("baseline"), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace pan::kernels
