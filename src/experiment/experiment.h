// `pan-ppo experiment`: does what is left to do, writes the report.
//
//   const Outcome o = run_experiment(make_plan(load_experiment(path, {}), program));
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiment/analysis.h"
#include "experiment/plan.h"

namespace pan::experiment {

struct Outcome {
  bool stopped = false;                   // by a signal; go on with the same command
  std::vector<std::string> failed;        // "lambda_0, seed 3: exit status 6"
  int first_code = 0;                     // exit status of the first that failed
  int64_t num_finished = 0, num_all = 0;  // arms x seeds
  Analysis analysis;
};

// Evaluates the start model once for all arms that ask the same of it, then trains what is not finished, seed
// by seed. A run that was stopped goes on, a finished one is left alone. The report is written whatever
// happened. Errors: those of preflight() and state_of(), before anything is begun; kConfig where another
// process works in the output folder.
Outcome run_experiment(const Plan& plan);

// Reads what is there and writes the report.
Outcome report_only(const Plan& plan);

// What would be done, a line each, after everything that preflight() looks at. Errors: its.
std::vector<std::string> dry_run(const Plan& plan);

}  // namespace pan::experiment
