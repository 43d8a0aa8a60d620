// Conversations to token ids: the fixed chat templates we support, by name.
//
//   auto chat = load_chat_template("model", prompt_config, *tok);
//   auto ids = chat->encode_prompt(*tok, "What is 2 + 3?");        // system text, user turn, start of the
//   answer auto stop = stop_token_ids("model", *tok, *chat);
//
// The rendered text and its ids equal those of transformers' apply_chat_template, but special tokens written
// in a message are ordinary text: a data set cannot end its own turn.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pan/tokenizer.h"
#include "tokenizer/tokenizer_config.h"

namespace pan::tokenizer {

enum class Role { kSystem, kUser, kAssistant };

struct Message {
  Role role = Role::kUser;
  std::string text;
};

enum class TemplateStyle { kPlain, kChatMl, kQwen3, kLlama30, kLlama3, kCustom };

class ChatTemplate {
 public:
  ChatTemplate(TemplateStyle style, std::string default_system, PromptConfig config)
      : style_(style), default_system_(std::move(default_system)), config_(std::move(config)) {}

  TemplateStyle style() const { return style_; }
  std::string name() const;
  // What the template writes where there is no system message; empty for none.
  const std::string& default_system() const { return default_system_; }

  // System text of the configuration, one user turn, start of the answer.
  std::vector<int64_t> encode_prompt(const Tokenizer& tokenizer, const std::string& user) const;

  // A conversation: at most one system message (first), then user and assistant turns. `generation_prompt`
  // writes the start of an answer behind it. The system text of the configuration stands in where there is no
  // system message. Error: kUsage where the template cannot write such a conversation (plain and custom take
  // one user turn).
  std::vector<int64_t> encode(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                              bool generation_prompt = true) const;
  std::vector<TextPart> render(const std::vector<Message>& messages, bool generation_prompt = true) const;
  std::string render_text(const std::vector<Message>& messages, bool generation_prompt = true) const;

  // Text of the token that ends an answer; empty where it is the tokenizer's end of text.
  std::string end_of_turn() const;
  // Its id; -1 where there is none.
  int64_t end_of_turn_id(const Tokenizer& tokenizer) const;

  // Error: kData where the tokenizer lacks a token that the template writes, kConfig for settings that do not
  // fit.
  void check(const Tokenizer& tokenizer, const std::string& folder) const;

 private:
  TemplateStyle style_;
  std::string default_system_;
  PromptConfig config_;
};

// The template that `config` names, or that the folder (or the folder of a tokenizer file) comes with.
// Errors: kData for a template of the folder that we do not know (names the valid values of prompt.template),
// and as check().
std::shared_ptr<const ChatTemplate> load_chat_template(const std::string& path, const PromptConfig& config,
                                                       const Tokenizer& tokenizer);

// Ids that end an answer, sorted: eos_token_id of generation_config.json and of config.json, and the end of a
// turn. Where all of these are missing, the tokenizer's end of text. Error: kData where a file
// names something that is not a token id.
std::vector<int64_t> stop_token_ids(const std::string& path, const Tokenizer& tokenizer,
                                    const ChatTemplate& chat);
// The same of raw text, where no turn can end.
std::vector<int64_t> stop_token_ids(const std::string& path, const Tokenizer& tokenizer);

}  // namespace pan::tokenizer
