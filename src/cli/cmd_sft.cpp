#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "core/error.h"
#include "core/log.h"
#include "sft/sft_trainer.h"
#include "train/run_dir.h"

namespace pan::cli {

void add_sft(CLI::App& app, Action& action) {
  struct Options {
    std::string config, run_dir;
    std::vector<std::string> set;
    bool auto_resume = false;
  };
  auto o = std::make_shared<Options>();
  CLI::App* sft = app.add_subcommand("sft", "Supervised warm start on a task's worked answers");
  sft->add_option("--config", o->config, "Configuration file (JSON, comments allowed)")->required();
  sft->add_option("--run-dir", o->run_dir, "Folder of the run")->required();
  sft->add_option("--set", o->set, "Override one key: a.b=value; may be repeated")->allow_extra_args(false);
  sft->add_flag("--auto-resume", o->auto_resume, "Start the run, or go on with it where --run-dir holds one");
  sft->callback([o, &action] {
    action = [o] {
      const bool resume = o->auto_resume && train::RunDir::is_run(o->run_dir);
      const sft::SftOutcome outcome =
          sft::train({.config = sft::load_sft(o->config, o->set), .run_dir = o->run_dir, .resume = resume});
      if (outcome.stopped)
        core::log_info("stopped after step " + std::to_string(outcome.steps) +
                       "; go on with the same command and --auto-resume");
      else
        core::log_info("done: the model is in " + o->run_dir + "/checkpoints/latest/policy");
      return 0;
    };
  });
}

}  // namespace pan::cli
