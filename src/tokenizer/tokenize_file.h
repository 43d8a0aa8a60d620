// The work of `pan-ppo tokenize`.
#pragma once

#include <cstdint>
#include <string>

namespace pan::tokenizer {

struct TokenizeCounts {
  int64_t num_rows = 0, num_tokens = 0, num_bytes = 0;
};

// Reads JSON lines {"text": ...} from `input` and writes {"token_ids": [...], "decoded": ...} to `output`,
// row for row. Special tokens in a text are recognised, none is added; other keys of a row are ignored; empty
// lines are skipped. `tokenizer` is a folder or file for load(). The output appears only when every row is
// done. Errors: kData for a bad row, with file and line; kIo for the output.
TokenizeCounts tokenize_file(const std::string& tokenizer, const std::string& input,
                             const std::string& output);

}  // namespace pan::tokenizer
