// What is wrong with a command line, said like every other error.
#pragma once

#include "core/error.h"

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace pan::cli {

// Unknown commands and options, before the parser gives its own answer (which names neither). Error: kUsage.
void check_words(CLI::App& app, int argc, char** argv);

// The parser's error as ours: which command, which option, what it takes, where help is.
core::Error usage_error(const CLI::App& app, const CLI::ParseError& error);

}  // namespace pan::cli
