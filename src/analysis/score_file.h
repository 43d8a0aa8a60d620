// What a model thinks of given texts: log-probabilities, entropies, reasoning steps and their rhythm; with
// every per-head statistic as tensors where asked for. This is how a researcher looks at rhythm on any text,
// and how we check ourselves.
//
//   analysis::score_file({.decoder = *d, .tokenizer = *t, .input = "in.jsonl", .output = "out.jsonl", .rhythm
//   = config});
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "pan/tokenizer.h"
#include "rhythm/head_groups.h"
#include "rhythm/rhythm_config.h"

namespace pan::analysis {

struct ScoreRequest {
  const model::Decoder& decoder;
  const tokenizer::Tokenizer& tokenizer;
  // Rows {"token_ids", "prompt_length"} or {"prompt", "response"}.
  std::string input;
  // Rows {"logprobs" [N-1], "token_entropy" [N-1] (entry i belongs to token i+1), "steps": [{"begin", "end"
  // (inclusive), "preplan_entropy": [preplan, anchor phase], "anchor_concentration": [preplan, anchor phase],
  // "anchors"}]}; null = undefined.
  std::string output;
  std::string tensors;  // safetensors file with row<i>.<name> [layers, heads, N] float32; empty = none
  rhythm::RhythmConfig rhythm;
  rhythm::HeadGroups groups;  // empty: calibrated on the input and written to <output>.head_groups.json
  // The tensors are of the layers that rhythm.layers names; false with groups: of the groups' layers.
  bool layers_chosen = false;
  // Turns a row's "prompt" into ids; the response is appended as plain text.
  std::function<std::vector<int64_t>(const std::string&)> encode_prompt;
  int64_t micro_batch_tokens = 4096;
  std::function<bool(int64_t done, int64_t total)> progress;  // false stops
};

struct ScoreCounts {
  int64_t num_rows = 0, num_tokens = 0, num_steps = 0;
  std::string groups_file;  // where calibrated groups were written; empty if given
};

// Where no row has a response there are no steps, so no groups are calibrated; that is warned of. All files
// are written at the end, each atomically. Errors: kData for a bad row (file and line), a token outside the
// vocabulary, a row that does not fit the context, groups of another model; kConfig for layers that cannot be
// tapped; kIo before anything is computed where the folder of a file is not there; kInterrupted.
ScoreCounts score_file(const ScoreRequest& request);

// Head groups of a JSON file written by score_file, of a checkpoint folder or of a run folder. Errors: kData.
rhythm::HeadGroups load_head_groups(const std::string& path);

}  // namespace pan::analysis
