// Supervised training on prompt/answer pairs: a small model learns the answer format before it can earn a
// reward.
//
//   sft::SftOutcome o = sft::train({.config = config, .run_dir = "runs/warm"});
//
// Loss: mean negative log-likelihood of the answer's tokens (the end of turn included) over all answers of a
// step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sft/sft_config.h"

namespace pan::sft {

struct SftRequest {
  SftConfig config;
  std::string run_dir;
  bool resume = false;  // go on from the newest complete checkpoint of run_dir
};

struct SftOutcome {
  int64_t steps = 0;
  double final_loss = 0;  // nat per token, of the last step
  bool stopped = false;   // by a signal; resumable
};

SftOutcome train(const SftRequest& request);

// Strict reading of an sft configuration file with `--set` overrides; checks the pairs that exclude each
// other. Errors: kConfig.
SftConfig load_sft(const std::string& path, const std::vector<std::string>& overrides);

}  // namespace pan::sft
