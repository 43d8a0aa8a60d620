#include "cli/usage.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "core/nearest.h"

namespace pan::cli {
namespace {

using core::Error;
using core::ErrorKind;

std::vector<std::string> commands_of(CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

std::vector<std::string> options_of(CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string help_of(const std::string& command) { return "`" + command + " --help` shows what it takes"; }

std::string meant(const std::string& word, const std::vector<std::string>& names,
                  const std::string& command) {
  const std::string near = core::nearest(word, names);
  return (near.empty() ? "" : "Did you mean " + near + "? ") + help_of(command);
}

void check_option(CLI::App& app, const std::string& command, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  if (app.get_option_no_throw(name) != nullptr) return;
  throw Error(ErrorKind::kUsage, "there is no such option")
      .where(command)
      .expected(joined(options_of(app)))
      .got(name)
      .remedy(meant(name, options_of(app), command));
}

}  // namespace

void check_words(CLI::App& app, int argc, char** argv) {
  CLI::App* at = &app;
  std::string command = app.get_name();
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--") return;
    if (word.rfind("--", 0) == 0 && word.size() > 2) {
      check_option(*at, command, word);
      continue;
    }
    const std::vector<std::string> commands = commands_of(*at);
    if (commands.empty() || (!word.empty() && word[0] == '-')) continue;
    const std::vector<CLI::App*> found =
        at->get_subcommands([&](CLI::App* a) { return a->get_name() == word; });
    if (found.empty()) {
      throw Error(ErrorKind::kUsage, "there is no such command")
          .where(command)
          .expected(joined(commands))
          .got(word)
          .remedy(meant(word, commands, command));
    }
    at = found.front();
    command += " " + word;
  }
}

core::Error usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* at = &app;
  std::string command = app.get_name();
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    command += " " + at->get_name();
  }
  const std::string text = error.what();
  const bool missing = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  if (missing && at->get_require_subcommand_min() > 0) {
    return Error(ErrorKind::kUsage, "no command is named")
        .where(command)
        .expected(joined(commands_of(const_cast<CLI::App&>(*at))))
        .got("nothing")
        .remedy(help_of(command));
  }
  for (const CLI::Option* option : at->get_options()) {
    const std::string name = option->get_name();
    if (text.find(name + " ") == std::string::npos && text.find(name + ":") == std::string::npos) continue;
    const bool no_value = dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr;
    const size_t colon = text.find(": ");
    return Error(ErrorKind::kUsage, missing    ? "something that is required is missing"
                                    : no_value ? "an option has no value, or too many"
                                               : "an option has a value that it cannot have")
        .where(command)
        .pointer(name)
        .expected(option->get_description().empty() ? "a value" : option->get_description())
        .got(missing                      ? "nothing"
             : colon != std::string::npos ? text.substr(colon + 2)
                                          : text)
        .remedy(help_of(command));
  }
  return Error(ErrorKind::kUsage, "the command line is not understood")
      .where(command)
      .expected("what its help says")
      .got(text)
      .remedy(help_of(command));
}

}  // namespace pan::cli
