#include "rollout/record.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "rollout_fakes.h"

namespace pan::rollout {
namespace {

Sample sample() {
  Sample s;
  s.sample_id = 12;
  s.prompt = {0, 1};
  s.response = {2, 3, 4};
  s.logprobs = {-1.0f, -2.0f, -0.75f};
  s.text = "cAdA";
  s.finish = FinishReason::kEndOfText;
  return s;
}

TEST(Record, HoldsWhatASampleKnows) {
  const core::Json j = to_json(make_record(sample(), FakeTokenizer(10)));
  EXPECT_EQ(j["sample_id"], 12);
  EXPECT_EQ(j["prompt"], "aAbA");
  EXPECT_EQ(j["response"], "cAdA");
  EXPECT_EQ(j["finish"], "end_of_text");
  EXPECT_EQ(j["num_prompt_tokens"], 2);
  EXPECT_EQ(j["num_response_tokens"], 3);
  EXPECT_DOUBLE_EQ(j["mean_logprob"], -1.25);
  for (const char* absent : {"iteration", "id", "rewards", "steps", "cut_mass"})
    EXPECT_FALSE(j.contains(absent));
}

TEST(Record, LineIsOneLineOfJsonWithTheCallersAdditions) {
  Record r = make_record(sample(), FakeTokenizer(10));
  r.iteration = 3;
  r.id = "gsm8k/train/5";
  r.response = "two\nlines \xff";  // not UTF-8: ended inside a character
  r.cut_mass = 0.25;
  r.rewards = {{"strict", 1.0}, {"broken", std::nan("")}};
  r.notes = {{"extracted", "18"}};
  r.steps = {{0, 1, "two\n", {{"reward", 0.5}}}};
  const std::string line = record_line(r);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const core::Json j = core::parse_json(line, "line");
  EXPECT_EQ(j["iteration"], 3);
  EXPECT_EQ(j["id"], "gsm8k/train/5");
  EXPECT_EQ(j["response"], "two\nlines \xef\xbf\xbd");
  EXPECT_EQ(j["rewards"]["strict"], 1.0);
  EXPECT_TRUE(j["rewards"]["broken"].is_null());
  EXPECT_EQ(j["extracted"], "18");
  EXPECT_EQ(j["cut_mass"], 0.25);
  EXPECT_EQ(j["steps"][0]["end"], 1);
  EXPECT_EQ(j["steps"][0]["reward"], 0.5);
}

}  // namespace
}  // namespace pan::rollout
