// --chat and what belongs to it: the options of generate and score.
#pragma once

#include <optional>

#include "tokenizer/tokenizer_config.h"

namespace CLI {
class App;
}

namespace pan::cli {

struct ChatOptions {
  bool chat = false;
  tokenizer::PromptConfig config;

  // For open_model(): nothing where the texts are raw.
  std::optional<tokenizer::PromptConfig> prompt() const {
    return chat ? std::optional(config) : std::nullopt;
  }
};

// `options` must outlive the parsing.
void add_chat_options(CLI::App& app, ChatOptions& options);

}  // namespace pan::cli
