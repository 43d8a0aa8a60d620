// The work of an experiment: which evaluations and runs there are, in which folder, and what is done already.
//
//   const Plan plan = make_plan(load_experiment(path, {}));
//   for (const Cell& cell : plan.cells) const State s = state_of(plan, cell);
//
// Folders below the output: evaluations/ID of the start model, one for all cells that ask the same of it;
// runs/ARM/seed_N of each trained cell; configs/, logs/ and origins/ of each.
#pragma once

#include <cstdint>
#include <map>
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
  config::RunConfig base;                     // what all arms share
  std::string program;                        // version and commit of this program
  std::map<std::string, std::string> models;  // folder -> checksum of the weights that runs start from
  std::vector<StartEvaluation> evaluations;
  std::vector<Cell> cells;         // all arms of the first seed, then of the next
  std::vector<std::string> notes;  // settings without effect and doubts about the comparison, once each

  const Arm& arm_of(const Cell& cell) const { return experiment.arms[cell.arm]; }
};

// Checks every arm's configuration and reads the models' bytes. `program`: version and commit, part of an
// evaluation's identity. Errors: kConfig with the arm; kData for a model folder that is not there.
Plan make_plan(const Experiment& experiment, const std::string& program);

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
// Looks at the disk. Error: kConfig where the run's folder holds a run with other settings or from other
// weights, with the folder and what differs.
State state_of(const Plan& plan, const Cell& cell);
bool is_finished(const StartEvaluation& evaluation);

// Where it is written which program and which weights the cell's run was begun with.
std::string origin_path(const Plan& plan, const Cell& cell);

// Where results.json and samples.jsonl of the cell's last evaluation are, or will be.
std::string result_folder(const Plan& plan, const Cell& cell);

}  // namespace pan::experiment
