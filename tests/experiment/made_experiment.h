// An experiment in a folder of its own, with a model folder whose weights are any bytes: enough for a plan.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/json.h"
#include "experiment/experiment_config.h"
#include "experiment/plan.h"
#include "support/support.h"

namespace pan::testing {

class MadeExperiment {
 public:
  MadeExperiment() {
    write_text(folder_ / "config.json", "{}");
    write_text(folder_ / "model.safetensors", "some weights");
    json_ = {{"name", "made"},
             {"base",
              {{"model", {{"path", folder_.path()}}},
               {"task", {{"name", "logic_grid"}, {"sizes", {"2x2"}}}},
               {"train", {{"iterations", 5}, {"prompts_per_iteration", 4}, {"samples_per_prompt", 2}}},
               {"ppo", {{"minibatch_size", 4}}},
               {"rhythm", {{"guard_window", 5}}},
               {"eval", {{"every", 5}, {"num_problems", 3}}}}},
             {"arms", {{"base", {{"rhythm.lambda", 0}}}, {"paid", {{"rhythm.lambda", 0.1}}}}},
             {"baseline", "base"},
             {"seeds", {1, 2}},
             {"output", folder_ / "out"}};
  }

  core::Json& json() { return json_; }
  std::string path(const std::string& name) const { return folder_ / name; }

  experiment::Experiment load(const std::vector<std::string>& overrides = {}) const {
    write_text(folder_ / "experiment.json", json_.dump(1));
    return experiment::load_experiment(folder_ / "experiment.json", overrides);
  }
  experiment::Plan plan(const std::string& program = "pan-ppo 1") const {
    return experiment::make_plan(load(), program);
  }

 private:
  TempFolder folder_;
  core::Json json_;
};

// The message of the error that `run` throws.
inline std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace pan::testing
