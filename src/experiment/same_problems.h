// Do all arms get the same problems, in the same order, and are they judged on the same ones?
//
//   check_same_problems(experiment, arm, base, config);      // throws where an arm goes its own way
#pragma once

#include <string>
#include <vector>

#include "config/run_config.h"
#include "experiment/experiment_config.h"

namespace pan::experiment {

// `base`: the configuration that all arms share; `config`: the arm's. A trained arm may not change task,
// prompt, the number of iterations, of prompts of an iteration, which prompts are too long, nor how it is
// evaluated. An arm that is only evaluated may change how a problem is put and answered, not which problems
// there are. Errors: kConfig with file, arm and pointer.
void check_same_problems(const Experiment& experiment, const Arm& arm, const config::RunConfig& base,
                         const config::RunConfig& config);

// What is allowed and yet weakens the comparison, a sentence each: "arm a: /train/... : ...".
std::vector<std::string> doubts_of(const Arm& arm, const config::RunConfig& base,
                                   const config::RunConfig& config);

}  // namespace pan::experiment
