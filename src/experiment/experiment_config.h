// What an experiment compares: a base configuration, arms that change some of its keys, and seeds.
//
//   const Experiment e = load_experiment("configs/experiments/quickstart_rhythm.json", {"parallel=1"});
//   for (const Arm& arm : e.arms) core::Json tree = arm.config;      // base and overrides, seed still to be
//   set
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/schema.h"

namespace pan::experiment {

struct ExperimentConfig {
  std::string name;
  std::string base = "{}";  // JSON: path of a run's configuration, or the configuration itself
  std::string set = "{}";   // JSON object: changes of the base that all arms share
  std::string arms = "{}";  // JSON object: changes by arm
  std::string baseline;
  std::vector<int64_t> seeds;
  std::string output;
  int64_t parallel = 1;
  int64_t threads_per_run = 1;
  std::string metric = "eval/accuracy";
  double alpha = 0.05;
  double difference_of_interest = 0.05;
  double power = 0.8;
  std::vector<std::string> curves = {"eval/accuracy", "reward/accuracy", "rhythm/entropy_term/mean",
                                     "rhythm/concentration_term/mean"};
};
void describe(core::Fields& f, ExperimentConfig& c);

struct Arm {
  std::string name;
  bool evaluate_only = false;        // the start model, not trained
  std::vector<std::string> against;  // arms that it is compared with, in this order
  std::string config;                // run configuration as JSON text, not resolved
  std::string changes;               // of the base, as a JSON tree: {"rhythm": {"lambda": 0}}
};

struct Experiment {
  ExperimentConfig config;
  std::string base;       // what all arms share, `set` included: JSON text, not resolved
  std::vector<Arm> arms;  // in the order of the file; seeds are distinct
  std::string source;     // the file, for messages
};

// Reads, merges and checks. Overrides are "a.b=value" on the experiment's own tree
// ("set.train.iterations=2"). Errors: kConfig with the file and the pointer; kUsage for an override.
Experiment load_experiment(const std::string& path, const std::vector<std::string>& overrides);

// Puts `changes` onto `tree`: a key is a name ("rhythm"), a dotted path ("rhythm.lambda") or a JSON pointer
// ("/rhythm/lambda"); an object as value is merged key by key, anything else replaces. Errors: kConfig.
void merge(core::Json& tree, const core::Json& changes, const std::string& source);

}  // namespace pan::experiment
