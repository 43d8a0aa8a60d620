// Command line of pan-ppo; exit codes live here and nowhere else.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "cli/commands.h"
#include "core/error.h"
#include "core/log.h"

namespace {

int exit_code(pan::core::ErrorKind kind) {
  using enum pan::core::ErrorKind;
  switch (kind) {
    case kUsage:
    case kConfig:
      return 2;
    case kData:
      return 3;
    case kIo:
      return 4;
    case kDevice:
      return 5;
    case kGuard:
      return 6;
    case kInterrupted:
      return 130;
    case kInternal:
      return 1;
  }
  return 1;
}

constexpr char kFooter[] =
    "Exit codes: 0 done, 2 usage or configuration, 3 bad model, tokenizer, data or checkpoint, 4 disk,\n"
    "5 device or memory, 6 stopped by a guard, 130 interrupted, 1 a bug of ours.";

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("pan-ppo: PPO fine-tuning of language models with an attention-rhythm reward", "pan-ppo");
  app.require_subcommand(1);
  app.footer(kFooter);
  app.set_version_flag("--version", [] { return pan::cli::version_text(); });
  app.add_flag_callback(
      "--debug", [] { pan::core::set_log_level(pan::core::LogLevel::kDebug); }, "More lines on what happens");
  pan::cli::Action action;
  pan::cli::add_train(app, action);
  pan::cli::add_sft(app, action);
  pan::cli::add_eval(app, action);
  pan::cli::add_generate(app, action);
  pan::cli::add_score(app, action);
  pan::cli::add_tokenize(app, action);
  pan::cli::add_tasks(app, action);
  pan::cli::add_config(app, action);
  try {
    app.parse(argc, argv);
    return action();
  } catch (const CLI::ParseError& error) {
    const int rc = app.exit(error);
    return rc == 0 ? 0 : 2;
  } catch (const pan::core::Error& error) {
    if (error.kind() == pan::core::ErrorKind::kInternal)
      pan::core::log_error(std::string("internal error, please report it: ") + error.what());
    else
      pan::core::log_error(error.what());
    return exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    pan::core::log_error(
        "out of memory: lower rollout.slots, ppo.micro_batch_tokens or the model's size; train --dry-run "
        "shows the plan");
    return exit_code(pan::core::ErrorKind::kDevice);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    const bool memory = text.find("not enough memory") != std::string::npos ||
                        text.find("out of memory") != std::string::npos;
    pan::core::log_error((memory ? "out of memory: " : "internal error, please report it: ") + text);
    return exit_code(memory ? pan::core::ErrorKind::kDevice : pan::core::ErrorKind::kInternal);
  }
}
