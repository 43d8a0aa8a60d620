// BPE tokenizers from a tokenizer.json: over bytes (GPT-2, SmolLM2, Qwen, Llama 3) or over characters with
// byte fallback (Gemma, Llama 2).
//
//   auto tok = load_byte_bpe("model/tokenizer.json", {.bos_token = "<s>"});
//
// Ids equal those of the `tokenizers` library. Decoding differs in one point: bytes that are not UTF-8 stay
// as they are instead of becoming U+FFFD. In a text that is encoded such bytes are words of their own.
#pragma once

#include <memory>
#include <string>

#include "pan/tokenizer.h"

namespace pan::tokenizer {

// What the files beside the tokenizer say about it; empty and -1 where they say nothing.
struct NamedTokens {
  std::string bos_token, eos_token;  // exact texts, from tokenizer_config.json or special_tokens_map.json
  int64_t bos_id = -1,
          eos_id = -1;  // from generation_config.json or config.json, used where the texts are empty
};

// Errors: kData: not JSON, corrupt (a merge or token that does not fit), or a component that is not
// supported, by name.
std::shared_ptr<const Tokenizer> load_byte_bpe(const std::string& path, const NamedTokens& named);

}  // namespace pan::tokenizer
