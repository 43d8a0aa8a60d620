#include "train/tokenizer_files.h"

#include "core/file.h"

namespace pan::train {

void copy_tokenizer_files(const std::string& from, const std::string& to) {
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
        "generation_config.json", "chat_template.jinja", "added_tokens.json", "vocab.json", "merges.txt"}) {
    const std::string path = from + "/" + name;
    if (!core::exists(path)) continue;
    auto out = core::disk().create(to + "/" + name);
    const std::string bytes = core::read_file(path);
    out->write(bytes.data(), bytes.size());
    out->sync();
    out->close();
  }
}

}  // namespace pan::train
