// Figures of generation speed, for `generate --json` and scripts/bench_generate.py.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "rollout/generate.h"

namespace pan::rollout {

struct BenchResult {
  std::vector<Sample> samples;  // of the last repetition
  GenerateStats stats;          // of the fastest repetition
  std::vector<double> total_s;  // every repetition, in order; the warm-up is not among them
};

// Runs the requests once for one token each (warm-up), then `repetitions` times.
BenchResult bench_generate(const model::Decoder& decoder, const tokenizer::Tokenizer& tokenizer,
                           const GeneratorOptions& options, const std::vector<Request>& requests,
                           int64_t repetitions = 1, const RunHooks& hooks = {});

// {"new_tokens", "tokens_per_s", "total_s", "runs_s", "prefill_s", "decode_s", "logits_s", "sample_s",
// "steps",
//  "prefill_tokens", "peak_rss_bytes"}
nlohmann::ordered_json to_json(const BenchResult& result);

}  // namespace pan::rollout
