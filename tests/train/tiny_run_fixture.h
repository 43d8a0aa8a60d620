// What tests of whole runs share.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/json.h"
#include "support/support.h"
#include "train/tiny_run.h"
#include "train/trainer.h"

namespace pan::testing {

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
