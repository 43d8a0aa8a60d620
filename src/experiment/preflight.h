// Everything that would stop the runs of an experiment, found before the first of them is begun.
//
//   preflight(plan);     // throws what the first bad arm's runs would have failed with
#pragma once

#include "experiment/plan.h"

namespace pan::experiment {

// Opens model, tokenizer and data of every arm as its runs would, and looks whether the metric and the curves
// of the experiment are figures that they will have. Errors: those of train::dry_run(); kConfig for a figure.
void preflight(const Plan& plan);

}  // namespace pan::experiment
