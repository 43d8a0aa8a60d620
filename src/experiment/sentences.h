// What a comparison shows, in words.
#pragma once

#include <string>

#include "experiment/analysis.h"

namespace pan::experiment {

// One or two sentences: the result, or why nothing is claimed, and how many seeds would be needed to see the
// difference of interest.
std::string sentence_of(const Comparison& c, const Analysis& analysis, const ExperimentConfig& config);

// "lambda_0.1: ...", of a guard that warns.
std::string warning_of(const Guard& g);

// "71.3 %" or "0.713"; "+1.2 points" or "+0.012".
std::string shown(double value, bool in_percent);
std::string shown_difference(double value, bool in_percent);
std::string shown_p(double p);

}  // namespace pan::experiment
