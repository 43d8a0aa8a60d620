// sentencepiece .model files.
//
//   auto tok = load_sentencepiece("model/tokenizer.model", {});
//
// Ids and decoded text equal those of the sentencepiece library, with these additions:
//  - byte pieces decode to their bytes also where they are not valid UTF-8 (the library writes U+FFFD);
//  - decode() writes control symbols out unless skip_special (the library never does);
//  - user-defined symbols that are special (named as such by the files beside the model, or of the form
//  <|...|>) can be
//    switched off, so that a user's text cannot contain them; others, such as a newline, are always
//    recognised.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pan/tokenizer.h"

namespace pan::tokenizer {

struct SentencePieceOptions {
  std::vector<std::string> special_texts;  // user-defined symbols to be taken as special
  bool add_bos = false, add_eos = false;   // what EncodeOptions::add_special writes
};

// Errors: kData: not a sentencepiece model, corrupt, or a setting that is not supported (named).
std::shared_ptr<const Tokenizer> load_sentencepiece(const std::string& path,
                                                    const SentencePieceOptions& options);

}  // namespace pan::tokenizer
