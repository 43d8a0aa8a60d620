#include "rollout/stop.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace pan::rollout {
namespace {

TEST(StopRules, StopTokenEndsTheTextWithoutItsBytes) {
  const StopRules rules({7, 9}, {});
  StopState state;
  EXPECT_FALSE(rules.push(state, 1, "ab"));
  EXPECT_EQ(rules.push(state, 9, "<end>"), FinishReason::kEndOfText);
  EXPECT_EQ(state.text, "ab");
}

TEST(StopRules, StringIsFoundAcrossTokensAndInsideOne) {
  const StopRules rules({}, {"\n\nQ:"});
  StopState state;
  EXPECT_FALSE(rules.push(state, 1, "four\n"));
  EXPECT_FALSE(rules.push(state, 2, "\n"));
  EXPECT_EQ(rules.push(state, 3, "Q: next"), FinishReason::kStopString);
  EXPECT_EQ(state.text, "four");
  StopState other;
  EXPECT_EQ(rules.push(other, 1, "x\n\nQ:y"), FinishReason::kStopString);
  EXPECT_EQ(other.text, "x");
}

TEST(StopRules, EarliestMatchCutsAndLongestStringLooksBackFarEnough) {
  const StopRules rules({}, {"b", "abcdef"});
  StopState state;
  EXPECT_FALSE(rules.push(state, 1, "za"));
  EXPECT_EQ(rules.push(state, 2, "bcdef"), FinishReason::kStopString);
  EXPECT_EQ(state.text, "z");  // "abcdef" begins before "b"
  const StopRules one_byte({}, {"."});
  StopState dot;
  EXPECT_EQ(one_byte.push(dot, 1, ".a."), FinishReason::kStopString);
  EXPECT_EQ(dot.text, "");
}

TEST(StopRules, TokensWithoutBytesChangeNothing) {
  const StopRules rules({}, {"ab"});
  StopState state;
  EXPECT_FALSE(rules.push(state, 1, "a"));
  EXPECT_FALSE(rules.push(state, 2, ""));
  EXPECT_EQ(rules.push(state, 3, "b"), FinishReason::kStopString);
}

TEST(StopRules, EmptyStringIsRefused) {
  try {
    StopRules({}, {"a", ""});
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::kConfig);
  }
}

}  // namespace
}  // namespace pan::rollout
