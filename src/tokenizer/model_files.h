// What lies in a model folder beside the weights, as far as tokenizers and prompts care.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tokenizer/byte_bpe.h"

namespace pan::tokenizer {

// bos and eos from tokenizer_config.json, special_tokens_map.json, generation_config.json, config.json;
// missing files are fine.
NamedTokens read_named_tokens(const std::string& folder);

// Texts that tokenizer_config.json or special_tokens_map.json declare to be special tokens.
std::vector<std::string> read_special_texts(const std::string& folder);

// Whether tokenizer_config.json asks for bos before / eos after a text.
struct AddedAtEnds {
  bool bos = false, eos = false;
};
AddedAtEnds read_added_at_ends(const std::string& folder);

// The union of eos_token_id in generation_config.json and config.json (a number or a list), sorted.
std::vector<int64_t> read_eos_ids(const std::string& folder);

// chat_template.jinja, else "chat_template" of tokenizer_config.json (of a list, the one named "default").
struct TemplateSource {
  std::string text;
  std::string where;  // file it was read from
};
std::optional<TemplateSource> read_chat_template(const std::string& folder);

// Folder of a path that names a folder or a file in it.
std::string folder_of(const std::string& path);

}  // namespace pan::tokenizer
