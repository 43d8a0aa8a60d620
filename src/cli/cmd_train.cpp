#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "config/load.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "train/dry_run.h"
#include "train/run_dir.h"
#include "train/trainer.h"

namespace pan::cli {
namespace {

struct Options {
  std::string config, run_dir, dry_run, time_limit;
  std::vector<std::string> set;
  bool auto_resume = false, allow_change = false;
};

int finish(const train::TrainOutcome& outcome, const std::string& run_dir) {
  const std::string resume = "pan-ppo resume " + run_dir;
  switch (outcome.end) {
    case train::TrainEnd::kDone:
      core::log_info("done: " + std::to_string(outcome.iterations) +
                     " iterations. Evaluate: pan-ppo eval --model " + run_dir + " --output DIR");
      break;
    case train::TrainEnd::kEarlyStop:
      core::log_info("ended early after " + std::to_string(outcome.iterations) + " iterations");
      break;
    case train::TrainEnd::kSignal:
    case train::TrainEnd::kTimeLimit:
      core::log_info("stopped after " + std::to_string(outcome.iterations) +
                     " iterations; go on with: " + resume);
      break;
  }
  return 0;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ',');
  return text;
}

int run(const Options& o, bool resume) {
  train::TrainRequest request{.run_dir = o.run_dir,
                              .resume = resume,
                              .allow_change = o.allow_change,
                              .program = one_line(version_text())};
  if (!o.time_limit.empty()) request.time_limit_s = parse_duration(o.time_limit);
  const config::Loaded loaded =
      config::load_run(o.config.empty() ? o.run_dir + "/config.json" : o.config, o.set);
  for (const std::string& note : loaded.notes) core::log_warn(note);
  request.config = loaded.config;
  try {
    return finish(train::train(request), o.run_dir);
  } catch (core::Error& error) {
    loaded.add_places(error);
    throw;
  }
}

int dry_run(const Options& o) {
  PAN_CHECK(o.dry_run == "all" || o.dry_run == "config", kUsage, "--dry-run has another value")
      .where("pan-ppo train")
      .expected("--dry-run or --dry-run=config")
      .got(o.dry_run)
      .remedy("Write --dry-run=config to open no model or data");
  const config::Loaded loaded = config::load_run(o.config, o.set);
  for (const std::string& note : loaded.notes) core::log_warn(note);
  const std::string run_dir = o.run_dir.empty() ? default_run_dir(o.config) : o.run_dir;
  try {
    const std::vector<std::string> lines = train::dry_run(loaded.config, run_dir, o.dry_run == "config");
    const bool resumes = o.auto_resume && train::RunDir::is_run(run_dir);
    if (o.dry_run != "config" && !resumes) train::RunDir::check_free(run_dir);
    for (const std::string& line : lines) std::printf("%s\n", line.c_str());
  } catch (core::Error& error) {
    loaded.add_places(error);
    throw;
  }
  return 0;
}

}  // namespace

void add_train(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* train = app.add_subcommand("train", "Train a model as a configuration file says");
  train->add_option("--config", o->config, "Configuration file (JSON, comments allowed)")->required();
  train->add_option("--set", o->set, "Override one key: a.b=value; may be repeated")->allow_extra_args(false);
  train->add_option("--run-dir", o->run_dir, "Folder of the run (default: runs/NAME-DATE)");
  train->add_flag("--auto-resume", o->auto_resume,
                  "Start the run, or go on with it where --run-dir holds one (needs --run-dir)");
  train->add_flag("--allow-change", o->allow_change,
                  "With --auto-resume: go on with settings that change what is computed");
  train->add_option("--time-limit", o->time_limit,
                    "Start no iteration that would not end in time: 55m, 3h, 90s");
  train->add_flag("--dry-run{all}", o->dry_run,
                  "Check everything, print batch arithmetic, memory and disk plan, and exit; =config opens "
                  "no model or data");
  train->callback([o, &action] {
    action = [o] {
      if (!o->dry_run.empty()) return dry_run(*o);
      check_auto_resume("train", o->auto_resume, o->run_dir);
      const bool resume = o->auto_resume && train::RunDir::is_run(o->run_dir);
      if (o->run_dir.empty()) o->run_dir = default_run_dir(o->config);
      return run(*o, resume);
    };
  });

  auto r = std::make_shared<Options>();
  CLI::App* resume = app.add_subcommand("resume", "Go on with a stopped run");
  resume->add_option("run_dir", r->run_dir, "Folder of the run")->required();
  resume->add_option("--set", r->set, "Override one key: a.b=value; may be repeated")
      ->allow_extra_args(false);
  resume->add_flag("--allow-change", r->allow_change, "Go on with settings that change what is computed");
  resume->add_option("--time-limit", r->time_limit,
                     "Start no iteration that would not end in time: 55m, 3h, 90s");
  resume->callback([r, &action] {
    action = [r] {
      PAN_CHECK(train::RunDir::is_run(r->run_dir), kData, "this is not a run folder")
          .where(r->run_dir)
          .expected("a folder with config.json and checkpoints/")
          .got(core::is_folder(r->run_dir) ? "a folder without them"
               : core::exists(r->run_dir)  ? "a file"
                                           : "nothing of that name")
          .remedy("Give the folder that `pan-ppo train` made (it prints it: run folder ...)");
      if (is_sft_run(r->run_dir)) {
        PAN_CHECK(r->time_limit.empty(), kUsage, "a supervised run takes no --time-limit")
            .where(r->run_dir)
            .expected("--set and --allow-change alone")
            .got("--time-limit")
            .remedy("Leave it out");
        return resume_sft(r->run_dir, r->set, r->allow_change);
      }
      return run(*r, true);
    };
  });
}

}  // namespace pan::cli
