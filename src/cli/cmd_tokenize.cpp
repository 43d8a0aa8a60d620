#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "core/log.h"
#include "tokenizer/tokenize_file.h"

namespace pan::cli {

void add_tokenize(CLI::App& app, Action& action) {
  struct Options {
    std::string tokenizer, input, output;
  };
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("tokenize", "Token ids of texts: rows {\"text\"} -> {\"token_ids\", \"decoded\"}");
  command->add_option("--tokenizer", o->tokenizer, "Model folder, tokenizer.json or tokenizer.model")
      ->required();
  command->add_option("--input", o->input, "JSONL file")->required();
  command->add_option("--output", o->output, "JSONL file to write")->required();
  command->callback([o, &action] {
    action = [o] {
      tokenizer::tokenize_file(o->tokenizer, o->input, o->output);
      core::log_info("written to " + o->output);
      return 0;
    };
  });
}

}  // namespace pan::cli
