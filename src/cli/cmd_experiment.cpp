#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "core/error.h"
#include "core/log.h"
#include "experiment/experiment.h"
#include "experiment/sentences.h"

namespace pan::cli {
namespace {

struct Options {
  std::string config, output;
  std::vector<std::string> set;
  bool dry_run = false, report_only = false;
};

void show(const experiment::Plan& plan, const experiment::Outcome& outcome) {
  for (const experiment::Comparison& c : outcome.analysis.comparisons)
    std::printf("%s\n", c.sentence.c_str());
  for (const experiment::Guard& g : outcome.analysis.guards)
    if (g.warning) std::printf("Reward hacking? %s\n", experiment::warning_of(g).c_str());
  const std::string& out = plan.experiment.config.output;
  std::printf("%lld of %lld finished; report: %s/report.md, %s/report.json\n",
              static_cast<long long>(outcome.num_finished), static_cast<long long>(outcome.num_all),
              out.c_str(), out.c_str());
}

int run(const Options& o) {
  std::vector<std::string> overrides = o.set;
  if (!o.output.empty()) overrides.push_back("output=" + o.output);
  const experiment::Plan plan =
      experiment::make_plan(experiment::load_experiment(o.config, overrides), program_text());
  for (const std::string& note : plan.notes) core::log_warn(note);
  if (o.dry_run) {
    for (const std::string& line : experiment::dry_run(plan)) std::printf("%s\n", line.c_str());
    return 0;
  }
  const experiment::Outcome outcome =
      o.report_only ? experiment::report_only(plan) : experiment::run_experiment(plan);
  show(plan, outcome);
  if (outcome.stopped)
    throw core::Error(core::ErrorKind::kInterrupted, "the experiment was stopped")
        .where(plan.experiment.config.output)
        .got(std::to_string(outcome.num_finished) + " of " + std::to_string(outcome.num_all) + " finished")
        .remedy("The same command goes on with it");
  for (const std::string& failed : outcome.failed) core::log_error("missing from the report: " + failed);
  return outcome.first_code;
}

}  // namespace

void add_experiment(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* experiment = app.add_subcommand(
      "experiment", "Compare arms over seeds: runs, statistics, report (docs/experiments.md)");
  experiment->add_option("--config", o->config, "Experiment file (JSON, comments allowed)")->required();
  experiment
      ->add_option("--set", o->set, "Override one key: parallel=1, set.train.iterations=5; may be repeated")
      ->allow_extra_args(false);
  experiment->add_option("--output", o->output, "Folder for runs and report, instead of the file's");
  experiment->add_flag("--dry-run", o->dry_run, "List the runs and what is finished, and exit");
  experiment->add_flag("--report-only", o->report_only, "Write the report from what is there, run nothing");
  experiment->callback([o, &action] { action = [o] { return run(*o); }; });
}

}  // namespace pan::cli
