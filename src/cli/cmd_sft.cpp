#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/common.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "sft/sft_trainer.h"
#include "train/run_dir.h"

namespace pan::cli {
namespace {

int finish(const sft::SftOutcome& outcome, const std::string& run_dir) {
  if (outcome.stopped)
    core::log_info("stopped after step " + std::to_string(outcome.steps) + "; go on with: pan-ppo resume " +
                   run_dir);
  else
    core::log_info("done: the model is in " + run_dir + "/checkpoints/latest/policy");
  return 0;
}

int run(const std::string& config, const std::vector<std::string>& set, const std::string& run_dir,
        bool resume, bool allow_change) {
  const sft::LoadedSft loaded = sft::load_sft(config, set);
  for (const std::string& note : loaded.notes) core::log_warn(note);
  try {
    return finish(
        sft::train(
            {.config = loaded.config, .run_dir = run_dir, .resume = resume, .allow_change = allow_change}),
        run_dir);
  } catch (core::Error& error) {
    loaded.add_places(error);
    throw;
  }
}

}  // namespace

bool is_sft_run(const std::string& run_dir) {
  return train::RunDir::is_run(run_dir) && core::read_json_file(run_dir + "/config.json").contains("sft");
}

int resume_sft(const std::string& run_dir, const std::vector<std::string>& set, bool allow_change) {
  return run(run_dir + "/config.json", set, run_dir, true, allow_change);
}

void add_sft(CLI::App& app, Action& action) {
  struct Options {
    std::string config, run_dir;
    std::vector<std::string> set;
    bool auto_resume = false, allow_change = false;
  };
  auto o = std::make_shared<Options>();
  CLI::App* sft = app.add_subcommand("sft", "Supervised warm start on a task's worked answers");
  sft->add_option("--config", o->config, "Configuration file (JSON, comments allowed)")->required();
  sft->add_option("--run-dir", o->run_dir, "Folder of the run (default: runs/NAME-DATE)");
  sft->add_option("--set", o->set, "Override one key: a.b=value; may be repeated")->allow_extra_args(false);
  sft->add_flag("--auto-resume", o->auto_resume,
                "Start the run, or go on with it where --run-dir holds one (needs --run-dir)");
  sft->add_flag("--allow-change", o->allow_change,
                "With --auto-resume: go on with settings that change what is computed");
  sft->callback([o, &action] {
    action = [o] {
      check_auto_resume("sft", o->auto_resume, o->run_dir);
      const bool resume = o->auto_resume && train::RunDir::is_run(o->run_dir);
      if (o->run_dir.empty()) o->run_dir = default_run_dir(o->config);
      return run(o->config, o->set, o->run_dir, resume, o->allow_change);
    };
  });
}

}  // namespace pan::cli
