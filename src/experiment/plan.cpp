#include "experiment/plan.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "config/load.h"
#include "core/error.h"
#include "core/file.h"

namespace pan::experiment {
namespace {

using core::Json;

// Everything that decides what an evaluation of the start model finds.
std::string evaluation_id(const config::RunConfig& c) {
  const Json all = config::resolved(c);
  Json key = {{"model", all["model"]},
              {"prompt", all["prompt"]},
              {"task", all["task"]},
              {"reward", all["reward"]},
              {"eval", all["eval"]}};
  for (const char* cadence : {"every", "at_start", "slots"}) key["eval"].erase(cadence);
  key["max_new_tokens"] = c.eval.max_new_tokens > 0 ? c.eval.max_new_tokens : c.rollout.max_new_tokens;
  key["stop_strings"] = c.rollout.stop_strings;
  key["threads"] = c.threads;
  if (c.eval.temperature > 0) key["seed"] = c.seed;
  return core::sha256(core::dump_json(key)).substr(0, 12);
}

int64_t start_evaluation(Plan& plan, const Cell& cell) {
  const std::string id = evaluation_id(cell.config);
  for (size_t i = 0; i < plan.evaluations.size(); ++i)
    if (plan.evaluations[i].id == id) return static_cast<int64_t>(i);
  plan.evaluations.push_back({.id = id,
                              .folder = plan.experiment.config.output + "/evaluations/" + id,
                              .description = "start model as evaluated in " + cell.name,
                              .config = cell.config});
  return static_cast<int64_t>(plan.evaluations.size()) - 1;
}

config::RunConfig config_of(Plan& plan, const Arm& arm, int64_t seed) {
  const ExperimentConfig& c = plan.experiment.config;
  const config::Loaded loaded = config::load_run_json(
      core::parse_json(arm.config, plan.experiment.source), plan.experiment.source + ", arm " + arm.name,
      {"seed=" + std::to_string(seed), "threads=" + std::to_string(c.threads_per_run)});
  for (const std::string& note : loaded.notes) {
    const std::string line = "arm " + arm.name + ": " + note;
    if (std::find(plan.notes.begin(), plan.notes.end(), line) == plan.notes.end()) plan.notes.push_back(line);
  }
  return loaded.config;
}

void check_cell(const Plan& plan, const Arm& arm, const config::RunConfig& c) {
  if (arm.evaluate_only) return;
  const std::string where = plan.experiment.source + ", arm " + arm.name;
  PAN_CHECK(c.eval.every > 0, kConfig, "arms are compared by the evaluation after the last iteration")
      .where(where)
      .pointer("/eval/every")
      .expected("1 or more")
      .got("0")
      .remedy("Set eval.every to train.iterations or less");
  PAN_CHECK(c.train.iterations > 0, kConfig, "nothing is trained")
      .where(where)
      .pointer("/train/iterations")
      .expected("1 or more, or the arm's evaluate_only = true")
      .got("0");
  PAN_CHECK(c.train.early_stop_evals == 0 && c.train.time_limit_s == 0, kConfig,
            "runs of different length cannot be compared")
      .where(where)
      .pointer(c.train.early_stop_evals != 0 ? "/train/early_stop_evals" : "/train/time_limit_s")
      .expected("0")
      .got("another value");
}

std::string step_folder(const std::string& parent, int64_t iteration) {
  char name[32];
  std::snprintf(name, sizeof name, "/step_%06lld", static_cast<long long>(iteration));
  return parent + name;
}

int64_t newest_checkpoint(const std::string& folder) {
  int64_t newest = 0;
  if (!core::is_folder(folder)) return 0;
  for (const std::string& name : core::list_folder(folder))
    if (name.rfind("step_", 0) == 0 && core::exists(folder + "/" + name + "/manifest.json"))
      newest = std::max<int64_t>(newest, std::strtoll(name.c_str() + 5, nullptr, 10));
  return newest;
}

void check_same(const std::string& source, const Cell& cell) {
  const std::string path = cell.folder + "/config.json";
  const config::Loaded on_disk =
      config::load_run_json(core::read_json_file(path), path, std::vector<std::string>());
  std::vector<std::string> changes = config::differences(on_disk.config, cell.config);
  const int64_t before = on_disk.config.train.iterations, after = cell.config.train.iterations;
  const std::string key = "/train/iterations";
  const bool named =
      std::any_of(changes.begin(), changes.end(), [&](const auto& c) { return c.rfind(key + ":", 0) == 0; });
  if (before != after && !named)
    changes.push_back(key + ": " + std::to_string(before) + " -> " + std::to_string(after));
  if (changes.empty()) return;
  std::string text;
  for (const std::string& change : changes) text += (text.empty() ? "" : "; ") + change;
  throw core::Error(core::ErrorKind::kConfig,
                    "this run was made with other settings than " + source + " has now")
      .where(cell.folder)
      .pointer(changes.front().substr(0, changes.front().find(':')))
      .expected("the settings of " + cell.name)
      .got(text)
      .remedy("Take back the change, remove that folder to run it again, or set another output folder");
}

}  // namespace

Plan make_plan(const Experiment& experiment) {
  Plan plan{.experiment = experiment, .evaluations = {}, .cells = {}, .notes = {}};
  for (int64_t seed : experiment.config.seeds) {
    for (size_t a = 0; a < experiment.arms.size(); ++a) {
      const Arm& arm = experiment.arms[a];
      Cell cell{.arm = a,
                .seed = seed,
                .name = arm.name + ", seed " + std::to_string(seed),
                .folder = {},
                .config = {}};
      cell.config = config_of(plan, arm, seed);
      check_cell(plan, arm, cell.config);
      if (arm.evaluate_only || cell.config.eval.at_start) cell.start = start_evaluation(plan, cell);
      if (!arm.evaluate_only) {
        // The evaluation before training is shared, so no run does its own.
        cell.config.eval.at_start = false;
        cell.folder = experiment.config.output + "/runs/" + arm.name + "/seed_" + std::to_string(seed);
      }
      plan.cells.push_back(std::move(cell));
    }
  }
  return plan;
}

std::string result_folder(const Plan& plan, const Cell& cell) {
  if (plan.arm_of(cell).evaluate_only) return plan.evaluations[static_cast<size_t>(cell.start)].folder;
  return step_folder(cell.folder + "/eval", cell.config.train.iterations);
}

bool is_one_evaluation(const Plan& plan, size_t arm) {
  std::set<int64_t> evaluations;
  for (const Cell& cell : plan.cells)
    if (cell.arm == arm) evaluations.insert(cell.start);
  return plan.experiment.arms[arm].evaluate_only && evaluations.size() == 1;
}

int64_t num_tests(const Plan& plan) {
  const std::vector<Arm>& arms = plan.experiment.arms;
  std::map<std::string, bool> once;
  for (size_t a = 0; a < arms.size(); ++a) once[arms[a].name] = is_one_evaluation(plan, a);
  int64_t n = 0;
  for (const Arm& arm : arms)
    for (const std::string& against : arm.against) n += !(once[arm.name] && once[against]);
  return n;
}

// results.json is written last, in one piece.
bool is_finished(const StartEvaluation& e) { return core::exists(e.folder + "/results.json"); }

State state_of(const Plan& plan, const Cell& cell) {
  const bool done = core::exists(result_folder(plan, cell) + "/results.json");
  if (plan.arm_of(cell).evaluate_only) return {done ? Progress::kFinished : Progress::kNew};
  if (!core::exists(cell.folder + "/config.json")) return {};
  check_same(plan.experiment.source, cell);
  return {done ? Progress::kFinished : Progress::kStopped, newest_checkpoint(cell.folder + "/checkpoints")};
}

}  // namespace pan::experiment
