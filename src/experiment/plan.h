// The work of an experiment: which evaluations and runs there are, in which folder, and what is done already.
//
//   const Plan plan = make_plan(load_experiment(path, {}));
//   for (const Cell& cell : plan.cells) const State s = state_of(plan, cell);
//
// Folders below the output: evaluations/ID of the start model, one for all cells that ask the same of it;
// runs/ARM/seed_N of each trained cell; configs/ and logs/ of each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "core/json.h"
#include "experiment/experiment_config.h"

namespace pan::experiment {

// An evaluation of the model that training starts from.
struct StartEvaluation {
  std::string id;  // of everything that decides its result
  std::string folder;
  std::string description;  // "the start model, as in lambda_0"
  config::RunConfig config;
};

// One arm with one seed.
struct Cell {
  size_t arm = 0;
  int64_t seed = 0;
  std::string name;    // "lambda_0, seed 3"
  std::string folder;  // of the run; empty where the arm is not trained
  config::RunConfig config;
  int64_t start = -1;  // index into Plan::evaluations; -1: the arm does not evaluate before training
};

struct Plan {
  Experiment experiment;
  std::vector<StartEvaluation> evaluations;
  std::vector<Cell> cells;         // all arms of the first seed, then of the next
  std::vector<std::string> notes;  // settings without effect, once each

  const Arm& arm_of(const Cell& cell) const { return experiment.arms[cell.arm]; }
};

// Checks every arm's configuration. Errors: kConfig with the arm.
Plan make_plan(const Experiment& experiment);

// Does one evaluation serve all seeds of the arm? Of an untrained model whose answers do not depend on the
// seed.
bool is_one_evaluation(const Plan& plan, size_t arm);
// Planned comparisons in which seeds can differ: what Holm's correction counts.
int64_t num_tests(const Plan& plan);

enum class Progress { kNew, kStopped, kFinished };
struct State {
  Progress progress = Progress::kNew;
  int64_t iteration = 0;  // of the newest checkpoint
};
// Looks at the disk. Error: kConfig where the run's folder holds a run with other settings, with the folder
// and the keys.
State state_of(const Plan& plan, const Cell& cell);
bool is_finished(const StartEvaluation& evaluation);

// Where results.json and samples.jsonl of the cell's last evaluation are, or will be.
std::string result_folder(const Plan& plan, const Cell& cell);

}  // namespace pan::experiment
