// One sample as one JSON line, to be read by eye: rollouts.jsonl, samples.jsonl.
//
//   rollout::Record r = rollout::make_record(sample, *tokenizer);
//   r.id = problem.id;  r.rewards = verdict.terms;
//   file << rollout::record_line(r);
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "pan/tokenizer.h"
#include "rollout/generate.h"

namespace pan::rollout {

struct StepRecord {
  int64_t begin = 0, end = 0;  // response tokens, inclusive
  std::string text;
  std::map<std::string, double> values;  // "reward", "z", ... of the step
};

struct Record {
  int64_t iteration = -1;  // left out where negative
  std::string id;          // of the problem; left out where empty
  int64_t sample_id = 0;
  std::string prompt;  // with its special tokens, as the model saw it
  std::string response;
  FinishReason finish = FinishReason::kLength;
  int64_t num_prompt_tokens = 0, num_response_tokens = 0;
  double mean_logprob = 0;                   // nat per response token
  double cut_mass = 0;                       // left out where 0
  std::map<std::string, double> rewards;     // by term; non-finite values become null
  std::map<std::string, std::string> notes;  // "extracted", "reference", ...
  std::vector<StepRecord> steps;             // left out where empty
};

// What the sample itself knows; id, rewards, notes and steps are the caller's to add.
Record make_record(const Sample& sample, const tokenizer::Tokenizer& tokenizer);

nlohmann::ordered_json to_json(const Record& record);
// Compact JSON and a line feed; bytes that are not UTF-8 are replaced.
std::string record_line(const Record& record);

}  // namespace pan::rollout
