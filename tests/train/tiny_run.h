// A run small enough for a unit test: a random model of two hundred thousand parameters on 2x2 puzzles.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "core/json.h"
#include "support/support.h"
#include "train/trainer.h"

namespace pan::testing {

// Writes a model folder (weights from `seed`, the quickstart tokenizer) into `folder`.
void make_tiny_model(const std::string& folder, uint64_t seed, int64_t num_layers = 3);

// A configuration that exercises everything a resume has to restore: adaptive KL, moments, a group refresh,
// critic warm-up, best-K.
config::RunConfig tiny_config(const std::string& model_folder,
                              const std::vector<std::string>& overrides = {});

// metrics.jsonl without the figures that depend on the clock and the memory, and without keys that begin with
// one of `without`.
std::string comparable_metrics(const std::string& run_dir, const std::vector<std::string>& without = {});

// Runs of one tiny model in a folder of the test's own; only warnings and errors are said.
class TinyRun : public ::testing::Test {
 protected:
  TinyRun();
  ~TinyRun() override;

  // Trains into the folder `name` with tiny_config's settings but for `overrides`.
  train::TrainOutcome run(const std::string& name, const std::vector<std::string>& overrides,
                          bool resume = false, bool allow_change = false) const;
  // Text of a file of a run, and of a model's weights in its last checkpoint.
  std::string file(const std::string& name, const std::string& path) const;
  std::string weights(const std::string& name, const std::string& model = "policy") const;
  // Rows of a run's metrics.jsonl, of one event or all.
  std::vector<core::Json> rows(const std::string& name, const std::string& event = "") const;

  TempFolder folder_;
  std::string model_ = folder_ / "model";
};

}  // namespace pan::testing
