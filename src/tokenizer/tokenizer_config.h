// How a prompt is put before the model.
#pragma once

#include <string>
#include <vector>

#include "core/schema.h"

namespace pan::tokenizer {

// Values of prompt.template. qwen2, qwen2.5 and smollm2 are chatml with the default system text of these
// models.
inline const std::vector<std::string>& template_names() {
  static const std::vector<std::string> names = {"auto",    "plain", "chatml", "qwen2",    "qwen2.5",
                                                 "smollm2", "qwen3", "llama3", "llama3.0", "custom"};
  return names;
}

struct PromptConfig {
  std::string template_name = "auto";
  std::string system;
  bool default_system = true;
  bool enable_thinking = true;
  std::string date = "26 Jul 2024";
  std::string custom;
  std::string end_of_turn;
  bool add_special = true;
};

// What can be said of them without a tokenizer: a custom text has its places, a date is there where one is
// written. Errors: kConfig.
void check(const PromptConfig& c);

inline void describe(core::Fields& f, PromptConfig& c) {
  f.choice_text(
      "template", template_names(), [&c] { return c.template_name; },
      [&c](const std::string& name) { c.template_name = name; },
      "Chat template. auto: the one of the model folder (chat_template.jinja or tokenizer_config.json), "
      "which must be a known "
      "one; plain where the folder has none. plain: the prompt as it is. llama3: Llama 3.1 to 3.3, with a "
      "date; llama3.0: "
      "without. custom: the text of `custom`.");
  f.text("system", c.system,
         {.doc = "System text. Empty: none, or the template's own default (see default_system)."});
  f.boolean("default_system", c.default_system,
            "Where `system` is empty, write the default system text of the template, if it has one.");
  f.boolean(
      "enable_thinking", c.enable_thinking,
      "qwen3: let the model think before it answers. false opens the answer with an empty thinking block.");
  f.text("date", c.date,
         {.doc = "llama3: the date its system text names. Pinned, so that runs can be repeated."});
  f.text("custom", c.custom,
         {.doc = "custom: text with {prompt} (once) and, if a system text is set, {system}. Special tokens "
                 "written in it are "
                 "recognised; those in the prompt are not."});
  f.text("end_of_turn", c.end_of_turn,
         {.doc = "plain and custom: token that ends an answer. Empty: the tokenizer's end of text."});
  f.boolean("add_special", c.add_special,
            "plain: put before the prompt what the tokenizer puts before a text (a beginning-of-text token, "
            "or nothing).");
}

}  // namespace pan::tokenizer
