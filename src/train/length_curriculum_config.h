// Longest response by iteration: train.length_curriculum.
//
//   int64_t limit = response_limit(config.train.length_curriculum, config.rollout.max_new_tokens, it.index);
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace pan::train {

struct LengthStage {
  int64_t from = 0;  // iteration, counted from 0
  int64_t max_new_tokens = 0;
};

// "from: tokens" for each stage. Error: kConfig with the stage's pointer: a text of another form, a first
// stage that does not start at 0, stages out of order, a limit that is not within 1 and `longest`.
inline std::vector<LengthStage> length_stages(const std::vector<std::string>& texts, int64_t longest) {
  std::vector<LengthStage> stages;
  for (const std::string& text : texts) {
    LengthStage stage;
    const char* const end = text.data() + text.size();
    const auto from = std::from_chars(text.data(), end, stage.from);
    const char* at = from.ptr;
    bool good = from.ec == std::errc() && at != end && *at++ == ':';
    while (good && at != end && *at == ' ') ++at;
    const auto tokens = std::from_chars(at, end, stage.max_new_tokens);
    good = good && tokens.ec == std::errc() && tokens.ptr == end;
    const bool follows = stages.empty() ? stage.from == 0 : stage.from > stages.back().from;
    PAN_CHECK(good && follows && stage.max_new_tokens >= 1 && stage.max_new_tokens <= longest, kConfig,
              "not a stage of the length curriculum")
        .pointer("/train/length_curriculum/" + std::to_string(stages.size()))
        .expected(
            "\"iteration: tokens\", the first from 0 and each later than the one before, 1 to "
            "rollout.max_new_tokens = " +
            std::to_string(longest) + " tokens")
        .got("\"" + text + "\"")
        .remedy("Write stages such as [\"0: 128\", \"50: 256\"], or raise rollout.max_new_tokens");
    stages.push_back(stage);
  }
  return stages;
}

// Of an iteration, counted from 0; `longest` where there is no curriculum.
inline int64_t response_limit(const std::vector<std::string>& texts, int64_t longest, int64_t iteration) {
  int64_t limit = longest;
  for (const LengthStage& stage : length_stages(texts, longest))
    if (stage.from <= iteration) limit = stage.max_new_tokens;
  return limit;
}

}  // namespace pan::train
