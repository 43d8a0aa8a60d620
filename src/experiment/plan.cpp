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
#include "experiment/provenance.h"
#include "experiment/same_problems.h"

namespace pan::experiment {
namespace {

using core::Json;

// Everything that decides what an evaluation of the start model finds.
std::string evaluation_id(const Plan& plan, const config::RunConfig& c) {
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
  key["weights"] = plan.models.at(c.model.path);
  key["program"] = plan.program;
  if (c.eval.temperature > 0) key["seed"] = c.seed;
  return core::sha256(core::dump_json(key)).substr(0, 12);
}

int64_t start_evaluation(Plan& plan, const Cell& cell) {
  const std::string id = evaluation_id(plan, cell.config);
  for (size_t i = 0; i < plan.evaluations.size(); ++i)
    if (plan.evaluations[i].id == id) return static_cast<int64_t>(i);
  plan.evaluations.push_back({.id = id,
                              .folder = plan.experiment.config.output + "/evaluations/" + id,
                              .description = "start model as evaluated in " + cell.name,
                              .config = cell.config});
  return static_cast<int64_t>(plan.evaluations.size()) - 1;
}

// Does the note "/a/b: ..." speak of something that `changes` sets?
bool is_about(const std::string& note, const Json& changes) {
  const std::string pointer = note.substr(0, note.find(':'));
  const Json* node = &changes;
  for (size_t start = 1; start < pointer.size();) {
    const size_t end = std::min(pointer.find('/', start), pointer.size());
    const auto at = node->find(pointer.substr(start, end - start));
    if (at == node->end()) return false;
    node = &*at;
    if (!node->is_object()) return true;
    start = end + 1;
  }
  return true;
}

void add_note(Plan& plan, const std::string& note) {
  if (std::find(plan.notes.begin(), plan.notes.end(), note) == plan.notes.end()) plan.notes.push_back(note);
}

config::Loaded load(const Plan& plan, const std::string& tree, const std::string& name, int64_t seed) {
  const ExperimentConfig& c = plan.experiment.config;
  return config::load_run_json(
      core::parse_json(tree, plan.experiment.source), plan.experiment.source + ", " + name,
      {"seed=" + std::to_string(seed), "threads=" + std::to_string(c.threads_per_run)});
}

config::RunConfig base_config(Plan& plan) {
  const config::Loaded loaded =
      load(plan, plan.experiment.base, "base", plan.experiment.config.seeds.front());
  for (const std::string& note : loaded.notes) add_note(plan, "all arms: " + note);
  return loaded.config;
}

// A setting that the arm inherits and cannot use is no mistake of the file's: the other arms use it.
config::RunConfig config_of(Plan& plan, const Arm& arm, int64_t seed) {
  const config::Loaded loaded = load(plan, arm.config, "arm " + arm.name, seed);
  const Json changes = core::parse_json(arm.changes, plan.experiment.source);
  for (const std::string& note : loaded.notes)
    if (is_about(note, changes)) add_note(plan, "arm " + arm.name + ": " + note);
  for (const std::string& doubt : doubts_of(arm, plan.base, loaded.config)) add_note(plan, doubt);
  return loaded.config;
}

void read_models(Plan& plan, const config::RunConfig& c) {
  std::vector<std::string> folders = {c.model.path};
  if (!c.rl.critic.path.empty()) folders.push_back(c.rl.critic.path);
  for (const std::string& folder : folders)
    if (plan.models.count(folder) == 0) plan.models[folder] = model_checksum(folder);
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

void check_same_models(const Plan& plan, const Cell& cell) {
  const Origin origin = read_origin(origin_path(plan, cell));
  for (const auto& [folder, checksum] : origin.models) {
    const auto now = plan.models.find(folder);
    if (now == plan.models.end() || now->second == checksum) continue;
    throw core::Error(core::ErrorKind::kConfig, "this run was made from other weights than are there now")
        .where(cell.folder)
        .pointer(folder)
        .expected("checksum " + now->second)
        .got(checksum)
        .remedy(
            "Bring the weights back, remove the run's folder to run it again, or set another output folder");
  }
}

}  // namespace

Plan make_plan(const Experiment& experiment, const std::string& program) {
  Plan plan{.experiment = experiment,
            .base = {},
            .program = program,
            .models = {},
            .evaluations = {},
            .cells = {},
            .notes = {}};
  plan.base = base_config(plan);
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
      check_same_problems(experiment, arm, plan.base, cell.config);
      read_models(plan, cell.config);
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

std::string origin_path(const Plan& plan, const Cell& cell) {
  return plan.experiment.config.output + "/origins/" + plan.arm_of(cell).name + "_seed_" +
         std::to_string(cell.seed) + ".json";
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
  check_same_models(plan, cell);
  return {done ? Progress::kFinished : Progress::kStopped, newest_checkpoint(cell.folder + "/checkpoints")};
}

}  // namespace pan::experiment
