#include "rhythm/steps.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace pan::rhythm {
namespace {

// A response of one-byte or longer tokens after a prompt of two; "" is a special token.
SequenceText response(const std::vector<std::string>& tokens) {
  SequenceText text;
  text.prompt_length = 2;
  text.token_bytes = {"", "Q"};
  text.token_bytes.insert(text.token_bytes.end(), tokens.begin(), tokens.end());
  for (const auto& t : text.token_bytes) text.special.push_back(t.empty());
  return text;
}

// Every byte a token.
SequenceText letters(const std::string& bytes) {
  std::vector<std::string> tokens;
  for (const char c : bytes) tokens.emplace_back(1, c);
  return response(tokens);
}

RhythmConfig config(int64_t min_content, StepRule rule = StepRule::kNewline) {
  RhythmConfig c;
  c.min_content_tokens = min_content;
  c.steps = rule;
  return c;
}

using Spans = std::vector<std::pair<int64_t, int64_t>>;
Spans spans(const std::vector<Step>& steps) {
  Spans out;
  for (const Step& s : steps) out.emplace_back(s.begin, s.end);
  return out;
}

TEST(Steps, AWholeRunOfWhiteSpaceWithANewlineEndsAStep) {
  // Positions:                         2345678 9
  EXPECT_EQ(spans(cut_steps(letters("a \n \nb c"), config(1))), (Spans{{2, 6}, {7, 9}}));
}

TEST(Steps, ATokenThatHoldsTheNewlineAndMoreIsTheLastOfItsStep) {
  EXPECT_EQ(spans(cut_steps(response({"a", "\nb", "c", "d\n", " ", "e"}), config(1))),
            (Spans{{2, 3}, {4, 6}, {7, 7}}));
}

TEST(Steps, OnlyBytesDecideWhereARunEnds) {
  const auto whole = cut_steps(response({"ab", "\n\n", "cd"}), config(1));
  const auto split = cut_steps(response({"ab", "\n", "\n", "cd"}), config(1));
  EXPECT_EQ(spans(whole), (Spans{{2, 3}, {4, 4}}));
  EXPECT_EQ(spans(split), (Spans{{2, 4}, {5, 5}}));
}

TEST(Steps, ASpecialTokenDoesNotEndARunAndEndOfTextJoinsTheLastStep) {
  EXPECT_EQ(spans(cut_steps(response({"a", "\n", "", "\n", "b", "\n", ""}), config(1))),
            (Spans{{2, 5}, {6, 8}}));
}

TEST(Steps, SpacesAndSentencesDoNotEndAStepByDefault) {
  EXPECT_EQ(spans(cut_steps(letters("a. b! c? d"), config(1))), (Spans{{2, 11}}));
}

TEST(Steps, SentencesEndAfterTheSpace) {
  EXPECT_EQ(spans(cut_steps(letters("a. b! c? d"), config(1, StepRule::kSentence))),
            (Spans{{2, 4}, {5, 7}, {8, 10}, {11, 11}}));
  // 3.5 and ".b" are no ends; a token with both bytes and more is.
  EXPECT_EQ(spans(cut_steps(response({"3", ".", "5", ".b", "e. f", "g"}), config(1, StepRule::kSentence))),
            (Spans{{2, 6}, {7, 7}}));
  // Newlines end too.
  EXPECT_EQ(spans(cut_steps(letters("a\nb. c"), config(1, StepRule::kSentence))),
            (Spans{{2, 3}, {4, 6}, {7, 7}}));
}

TEST(Steps, ShortStepsJoinTheNextAndTheLastJoinsThePrevious) {
  // Contents by line: 1, 2, 3, 1; at least 3 are needed.
  EXPECT_EQ(spans(cut_steps(letters("a\nbb\nccc\nd"), config(3))), (Spans{{2, 6}, {7, 11}}));
  EXPECT_EQ(spans(cut_steps(letters("aa\n"), config(3))), (Spans{{2, 4}}));
}

TEST(Steps, PunctuationAndSpecialTokensAreNoContentButOtherScriptsAre) {
  EXPECT_EQ(spans(cut_steps(response({"-", "*", "\n", "\xe6", "\xb0\xb4", "\n", "7"}), config(1))),
            (Spans{{2, 7}, {8, 8}}));
  EXPECT_FALSE(is_content(" .,-!\n"));
  EXPECT_FALSE(is_content(""));
  EXPECT_TRUE(is_content("-z"));
  EXPECT_TRUE(is_content("\x80"));
}

TEST(Steps, NoResponseHasNoSteps) { EXPECT_TRUE(cut_steps(response({}), config(8)).empty()); }

TEST(Steps, PreplanIsAQuarterButAtLeastOneAndAtMostEight) {
  for (const auto& [length, preplan] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {2, 1}, {4, 1}, {5, 2}, {8, 2}, {9, 3}, {31, 8}, {32, 8}, {33, 8}, {100, 8}}) {
    const Step s = cut_steps(letters(std::string(static_cast<size_t>(length), 'x')), config(8))[0];
    EXPECT_EQ(s.preplan_end - s.begin + 1, preplan) << length;
    EXPECT_EQ(s.has_anchor_phase(), length > 1);
  }
}

TEST(Steps, PreplanNeverExceedsItsStep) {
  RhythmConfig c = config(1);
  c.preplan = {.fraction = 1.0, .min_tokens = 5, .max_tokens = 9};
  const auto steps = cut_steps(letters("abc\ndefghijklmnop"), c);
  EXPECT_EQ(steps[0].preplan_end, steps[0].end);
  EXPECT_FALSE(steps[0].has_anchor_phase());
  EXPECT_EQ(steps[1].preplan_end, steps[1].begin + 8);
}

TEST(Steps, WaadStepsStartAtPeaksAfterTheLargestJumps) {
  const SequenceText text = letters("abcdefghij");  // positions 2..11
  //                              0  1  2  3  4  5  6  7  8  9  10 11
  const std::vector<double> waad{0, 0, 1, 1, 9, 2, 2, 8, 8, 1, 1, 7};
  // Delta from position 2: 0 8 7 0 6 0 7 0 6; the 4 largest of 9 are those at 3, 4, 8 and (tie, earlier) 6.
  // A peak after them: 4 (9 > 1, 9 >= 2) and 7 (8 > 2, 8 >= 8); 5 and 9 fall.
  EXPECT_EQ(spans(cut_steps(text, config(1, StepRule::kWaad), waad)), (Spans{{2, 3}, {4, 6}, {7, 11}}));
}

TEST(Steps, WaadOfAnotherLengthIsRefused) {
  EXPECT_THROW(cut_steps(letters("abc"), config(1, StepRule::kWaad), {1.0}), core::Error);
  SequenceText broken = letters("abc");
  broken.special.pop_back();
  EXPECT_THROW(cut_steps(broken, config(1)), core::Error);
}

TEST(Steps, ARepetitionIsRecognisedWithoutItsWhiteSpace) {
  const SequenceText text = response({"ab", "c\n", " ", "ab", "c", "\n\n", "abd\n", "abc"});
  const auto steps = cut_steps(text, config(1));
  ASSERT_EQ(steps.size(), 4u);
  EXPECT_EQ(repeated_steps(text, steps), (std::vector<char>{0, 1, 0, 1}));
}

TEST(Text, FractionsAreDecimalNumbers) {
  EXPECT_EQ(ceil_fraction(0.1, 30), 3);  // 0.1 * 30 > 3 in binary
  EXPECT_EQ(ceil_fraction(0.07, 100), 7);
  EXPECT_EQ(ceil_fraction(0.4, 5), 2);
  EXPECT_EQ(ceil_fraction(0.4, 6), 3);
  EXPECT_EQ(ceil_fraction(0.05, 0), 0);
  EXPECT_EQ(ceil_fraction(1.0, 7), 7);
  EXPECT_EQ(ceil_fraction(0.0, 7), 0);
}

TEST(Text, RepeatedEightGrams) {
  EXPECT_TRUE(std::isnan(repeated_8grams(letters("abcdefg"))));
  EXPECT_EQ(repeated_8grams(letters("abcdefgh")), 0);
  EXPECT_DOUBLE_EQ(repeated_8grams(letters("aaaaaaaaaaaa")), 4.0 / 5);
  EXPECT_DOUBLE_EQ(repeated_8grams(letters("abcdefghabcdefgh")), 1.0 / 9);
}

}  // namespace
}  // namespace pan::rhythm
