#include "experiment/experiment.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "config/load.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/signals.h"
#include "core/threads.h"
#include "experiment/preflight.h"
#include "experiment/processes.h"
#include "experiment/provenance.h"
#include "experiment/report.h"

namespace pan::experiment {
namespace {

constexpr int64_t kTailLines = 8;
constexpr auto kLockWait = std::chrono::seconds(60);

// Files of one child, named after its run.
std::string slug(const Plan& plan, const Cell& cell) {
  return plan.arm_of(cell).name + "_seed_" + std::to_string(cell.seed);
}

std::string tail_of(const std::string& path) {
  const std::string text = core::exists(path) ? core::read_file(path) : "";
  size_t at = text.size();
  for (int64_t lines = 0; at > 0 && lines <= kTailLines; --at)
    if (text[at - 1] == '\n' && ++lines > kTailLines) break;
  return text.substr(at);
}

std::string duration(double seconds) {
  char text[48];
  if (seconds < 100)
    std::snprintf(text, sizeof text, "%.0f s", seconds);
  else
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
  return text;
}

// A run whose program was killed may still be stopping: its lock is waited for.
void wait_until_free(const std::string& folder) {
  const auto end = std::chrono::steady_clock::now() + kLockWait;
  bool said = false;
  while (core::is_folder(folder)) {
    try {
      const core::FolderLock lock(folder);
      return;
    } catch (const core::Error& error) {
      if (error.kind() != core::ErrorKind::kConfig || std::chrono::steady_clock::now() > end ||
          core::stop_requested())
        throw;
      if (!said) core::log_info("waiting for another process to leave " + folder);
      said = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

class Runner {
 public:
  explicit Runner(const Plan& plan)
      : plan_(plan), out_(plan.experiment.config.output), program_(this_program()) {
    for (const char* folder : {"/configs", "/logs", "/evaluations", "/origins", "/runs"})
      core::disk().make_folders(out_ + folder);
  }

  Outcome run() {
    std::vector<Command> evaluations, trainings;
    for (size_t i = 0; i < plan_.evaluations.size(); ++i)
      if (!is_finished(plan_.evaluations[i])) evaluations.push_back(evaluation_command(i));
    for (size_t i = 0; i < plan_.cells.size(); ++i) {
      if (plan_.cells[i].folder.empty()) continue;
      const Progress progress = state_of(plan_, plan_.cells[i]).progress;
      if (progress != Progress::kFinished) trainings.push_back(training_command(i, progress));
    }
    go("evaluation", evaluations);
    if (!outcome_.stopped) go("run", trainings);
    return outcome_;
  }

 private:
  Command evaluation_command(size_t i) {
    const StartEvaluation& e = plan_.evaluations[i];
    const std::string config = write_config("evaluation_" + e.id, e.config);
    return {
        .words = {program_, "eval", "--model", e.config.model.path, "--config", config, "--output", e.folder},
        .log = out_ + "/logs/evaluation_" + e.id + ".txt",
        .id = i};
  }

  Command training_command(size_t i, Progress progress) {
    const Cell& cell = plan_.cells[i];
    if (progress == Progress::kStopped) wait_until_free(cell.folder);
    note_origin(cell, progress);
    const std::string config = write_config(slug(plan_, cell), cell.config);
    return {.words = {program_, "train", "--config", config, "--run-dir", cell.folder, "--auto-resume"},
            .log = out_ + "/logs/" + slug(plan_, cell) + ".txt",
            .id = i};
  }

  void note_origin(const Cell& cell, Progress progress) {
    const std::string path = origin_path(plan_, cell);
    Origin origin = progress == Progress::kNew ? Origin{} : read_origin(path);
    if (std::find(origin.programs.begin(), origin.programs.end(), plan_.program) == origin.programs.end())
      origin.programs.push_back(plan_.program);
    for (const std::string& folder : {cell.config.model.path, cell.config.rl.critic.path})
      if (plan_.models.count(folder)) origin.models[folder] = plan_.models.at(folder);
    write_origin(path, origin);
  }

  std::string write_config(const std::string& name, const config::RunConfig& config) {
    const std::string path = out_ + "/configs/" + name + ".json";
    core::write_file_atomic(core::disk(), path, core::dump_json(config::resolved(config), 2) + "\n");
    return path;
  }

  void go(const std::string& kind, const std::vector<Command>& commands) {
    size_t begun = 0, ended = 0;
    double seconds = 0;
    const bool training = kind == "run";
    auto name = [&](const Command& c) {
      return training ? plan_.cells[c.id].name : plan_.evaluations[c.id].description;
    };
    ProcessOptions options;
    options.parallel = plan_.experiment.config.parallel;
    options.should_stop = [said = false]() mutable {
      if (core::stop_requested() && !said) core::log_info("stopping: each run ends at its next safe point");
      said = said || core::stop_requested();
      return core::stop_requested();
    };
    options.on_begin = [&](const Command& c) {
      core::log_info(kind + " " + std::to_string(++begun) + " of " + std::to_string(commands.size()) + ": " +
                     name(c));
    };
    options.on_end = [&](const Command& c, const Ended& e) {
      ++ended;
      seconds += e.seconds;
      const bool done = training ? state_of(plan_, plan_.cells[c.id]).progress == Progress::kFinished
                                 : is_finished(plan_.evaluations[c.id]);
      if (!done) return not_done(name(c), c, e);
      const double left = seconds / static_cast<double>(ended) *
                          static_cast<double>(commands.size() - ended) /
                          static_cast<double>(options.parallel);
      core::log_info("finished in " + duration(e.seconds) + ": " + name(c) +
                     (training && ended < commands.size() ? "; about " + duration(left) + " to go" : ""));
    };
    if (!run_all(commands, options)) outcome_.stopped = true;
  }

  void not_done(const std::string& name, const Command& c, const Ended& e) {
    if (core::stop_requested() && (e.code == 0 || e.code == 130 || e.signal == SIGTERM)) return;
    const std::string how = e.signal != 0 ? "killed by signal " + std::to_string(e.signal)
                                          : "exit status " + std::to_string(e.code);
    outcome_.failed.push_back(name + ": " + how);
    // Killed from outside: most often there was no memory left.
    const int code = e.signal == SIGKILL ? 5 : e.code <= 0 ? 1 : e.code;
    if (outcome_.first_code == 0) outcome_.first_code = code;
    core::log_warn("failed: " + outcome_.failed.back() + "; the end of " + c.log + ":\n" + tail_of(c.log));
  }

  const Plan& plan_;
  std::string out_, program_;
  Outcome outcome_;
};

void finish(const Plan& plan, Outcome& outcome) {
  const Results results = read_results(plan);
  outcome.analysis = analyse(results, plan.experiment.config);
  outcome.num_all = static_cast<int64_t>(plan.cells.size());
  for (const ArmResults& arm : results.arms) outcome.num_finished += static_cast<int64_t>(arm.cells.size());
  write_report(plan, results, outcome.analysis);
}

}  // namespace

Outcome run_experiment(const Plan& plan) {
  const ExperimentConfig& c = plan.experiment.config;
  core::install_stop_signals();
  for (const Cell& cell : plan.cells) state_of(plan, cell);  // settings are compared before anything is begun
  preflight(plan);
  core::disk().make_folders(c.output);
  const core::FolderLock lock(c.output);
  const int64_t cores = core::usable_cpus();
  if (c.parallel * c.threads_per_run > cores)
    core::log_warn("parallel x threads_per_run = " + std::to_string(c.parallel * c.threads_per_run) +
                   " threads on " + std::to_string(cores) + " cores: runs will slow each other down");
  Outcome outcome = Runner(plan).run();
  finish(plan, outcome);
  return outcome;
}

Outcome report_only(const Plan& plan) {
  Outcome outcome;
  finish(plan, outcome);
  return outcome;
}

std::vector<std::string> dry_run(const Plan& plan) {
  const ExperimentConfig& c = plan.experiment.config;
  preflight(plan);
  std::vector<std::string> lines;
  int64_t finished = 0;
  for (const StartEvaluation& e : plan.evaluations)
    lines.push_back((is_finished(e) ? "finished    " : "to do       ") + e.folder + "  (" + e.description +
                    ")");
  for (const Cell& cell : plan.cells) {
    const State state = state_of(plan, cell);
    finished += state.progress == Progress::kFinished;
    if (cell.folder.empty()) {
      lines.push_back(std::string(state.progress == Progress::kFinished ? "finished    " : "to do       ") +
                      cell.name + "  (no training; " + result_folder(plan, cell) + ")");
      continue;
    }
    char progress[48] = "to do       ";
    if (state.progress == Progress::kFinished) std::snprintf(progress, sizeof progress, "finished    ");
    if (state.progress == Progress::kStopped)
      std::snprintf(progress, sizeof progress, "at %3lld/%-5lld", static_cast<long long>(state.iteration),
                    static_cast<long long>(cell.config.train.iterations));
    lines.push_back(std::string(progress) + cell.name + "  (" + cell.folder + ")");
  }
  const auto arms = plan.experiment.arms.size();
  lines.push_back(std::to_string(arms) + " arms x " + std::to_string(c.seeds.size()) +
                  " seeds = " + std::to_string(plan.cells.size()) + ", " + std::to_string(finished) +
                  " finished; " + std::to_string(plan.evaluations.size()) +
                  " evaluations of the start model; " + std::to_string(c.parallel) + " at a time with " +
                  std::to_string(c.threads_per_run) + " threads each");
  const int64_t comparisons = num_tests(plan);
  const int64_t needed = seeds_to_reach(comparisons, c.alpha);
  if (static_cast<int64_t>(c.seeds.size()) < needed)
    lines.push_back("with " + std::to_string(c.seeds.size()) +
                    " seeds no difference can be called significant: " + std::to_string(comparisons) +
                    " comparisons at level " + core::dump_json(c.alpha) + " need at least " +
                    std::to_string(needed) + " seeds");
  return lines;
}

}  // namespace pan::experiment
