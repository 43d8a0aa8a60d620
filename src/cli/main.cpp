// Command line of pan-ppo; exit codes live here and nowhere else.
#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/usage.h"
#include "core/error.h"
#include "core/log.h"
#include "core/threads.h"

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

// For errors that do not say themselves what to do.
std::string general_remedy(const pan::core::Error& error) {
  using enum pan::core::ErrorKind;
  switch (error.kind()) {
    case kUsage:
      return "`pan-ppo --help` and `pan-ppo COMMAND --help` show what there is";
    case kConfig:
      return "`pan-ppo config explain` says what every setting means";
    case kData:
      return "Fetch or make it again, or give another one";
    case kIo:
      return "Check the path, its permissions and the free space";
    case kDevice:
      return "`pan-ppo train --dry-run` shows what a run needs";
    case kGuard:
      return "The last checkpoint is untouched";
    default:
      return "";
  }
}

int report(pan::core::Error error) {
  const bool bug = error.kind() == pan::core::ErrorKind::kInternal;
  if (error.remedy_text().empty()) error.remedy(general_remedy(error));
  pan::core::log_error((bug ? "internal error, please report it: " : "") + std::string(error.what()));
  return exit_code(error.kind());
}

// What was thrown by the libraries below us, who know no error kinds.
int report_foreign(const std::string& text) {
  const bool memory =
      text.find("not enough memory") != std::string::npos || text.find("out of memory") != std::string::npos;
  pan::core::log_error((memory ? "out of memory: " : "internal error, please report it: ") + text);
  return exit_code(memory ? pan::core::ErrorKind::kDevice : pan::core::ErrorKind::kInternal);
}

constexpr char kFooter[] =
    "Environment: PAN_ISA=baseline|avx2|avx512|avx512_bf16|amx asks for a lesser instruction set.\n"
    "Exit codes: 0 done, 2 usage or configuration, 3 bad model, tokenizer, data or checkpoint, 4 disk,\n"
    "5 device or memory, 6 stopped by a guard, 130 interrupted, 1 a bug of ours.";

}  // namespace

int main(int argc, char** argv) {
  pan::core::limit_spinning(argv);
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
  pan::cli::add_experiment(app, action);
  pan::cli::add_generate(app, action);
  pan::cli::add_score(app, action);
  pan::cli::add_tokenize(app, action);
  pan::cli::add_tasks(app, action);
  pan::cli::add_config(app, action);
  try {
    pan::cli::check_words(app, argc, argv);
    app.parse(argc, argv);
    pan::cli::check_environment();
    return action();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return report(pan::cli::usage_error(app, error));
  } catch (const pan::core::Error& error) {
    return report(error);
  } catch (const std::bad_alloc&) {
    pan::core::log_error(
        "out of memory: lower rollout.slots, ppo.micro_batch_tokens or the model's size; train --dry-run "
        "shows the plan");
    return exit_code(pan::core::ErrorKind::kDevice);
  } catch (const c10::Error& error) {
    return report_foreign(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return report_foreign(error.what());
  }
}
