#include "train/tiny_run_fixture.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/log.h"
#include "core/signals.h"

namespace pan::testing {

TinyRun::TinyRun() {
  core::set_log_level(core::LogLevel::kWarn);
  make_tiny_model(model_, 5);
}

TinyRun::~TinyRun() {
  core::set_log_file("");
  core::set_log_level(core::LogLevel::kInfo);
  core::reset_stop();
}

train::TrainOutcome TinyRun::run(const std::string& name, const std::vector<std::string>& overrides,
                                 bool resume, bool allow_change) const {
  return train::train({.config = tiny_config(model_, overrides),
                       .run_dir = folder_ / name,
                       .resume = resume,
                       .allow_change = allow_change});
}

std::string TinyRun::file(const std::string& name, const std::string& path) const {
  return read_text((folder_ / name) + "/" + path);
}

std::string TinyRun::weights(const std::string& name, const std::string& model) const {
  return file(name, "checkpoints/latest/" + model + "/model.safetensors");
}

std::vector<core::Json> TinyRun::rows(const std::string& name, const std::string& event) const {
  std::istringstream lines(file(name, "metrics.jsonl"));
  std::vector<core::Json> out;
  for (std::string line; std::getline(lines, line);) {
    core::Json row = core::Json::parse(line);
    if (event.empty() || row.at("event") == event) out.push_back(std::move(row));
  }
  return out;
}

}  // namespace pan::testing
