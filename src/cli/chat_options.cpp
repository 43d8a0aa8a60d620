#include "cli/chat_options.h"

#include <CLI/CLI.hpp>

namespace pan::cli {

void add_chat_options(CLI::App& app, ChatOptions& o) {
  app.add_flag("--chat", o.chat, "Put prompts into the model's chat template");
  CLI::Option* system = app.add_option("--system", o.config.system, "System text, with --chat");
  CLI::Option* named = app.add_option("--template", o.config.template_name,
                                      "Chat template by name, with --chat; default: the model's own")
                           ->check(CLI::IsMember(tokenizer::template_names()));
  CLI::Option* custom =
      app.add_option("--custom", o.config.custom, "With --template custom: its text, with {prompt}");
  for (CLI::Option* option : {system, named, custom}) option->needs("--chat");
}

}  // namespace pan::cli
