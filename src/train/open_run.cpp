#include "train/open_run.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/load.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/log_file.h"
#include "train/dry_run.h"
#include "train/process.h"
#include "train/session.h"

namespace pan::train {
namespace {

void check_prompts(Session& s, double seconds) {
  const TrainConfig& c = s.config.train;
  const int64_t left = (c.iterations - s.state.iteration) * c.prompts_per_iteration;
  s.prompts->check(std::min(left, c.prompts_per_iteration), left, seconds);
}

// A plan is an estimate, so a run that is meant to start does.
void warn_of_memory(const Session& s) {
  try {
    check_memory(plan_memory(s.config, sizes_of(s)), memory_of(s.device));
  } catch (const core::Error& error) {
    core::log_warn("memory plan", error.what());
  }
}

uint64_t size_or_none(const std::string& path) {
  return std::filesystem::is_regular_file(path) ? core::file_size(path) : 0;
}

// config.json tells of the run as it goes on, so that the next resume needs no settings repeated.
void update_config(const RunDir& dir, const config::RunConfig& config) {
  const core::Json now = config::resolved(config);
  if (core::read_json_file(dir.config_path()) != now) dir.write_config(now);
}

OpenedRun open_new(const TrainRequest& request) {
  RunDir::check_free(request.run_dir);
  std::unique_ptr<Session> session = open_session(request.config);
  check_prompts(*session, request.read_ahead_s);
  check_disk(plan_disk(request.config, sizes_of(*session)), request.run_dir);
  RunDir dir = RunDir::create(request.run_dir, config::resolved(request.config));
  core::set_log_file(dir.log_path());
  core::log_info("run folder " + dir.path());
  warn_of_memory(*session);
  return {.dir = std::move(dir), .resumed = {.session = std::move(session), .log_lengths = {}}};
}

OpenedRun open_again(const TrainRequest& request) {
  RunDir dir = RunDir::open(request.run_dir);
  const uint64_t logged_before = size_or_none(dir.log_path());
  core::set_log_file(dir.log_path());
  core::log_info("run folder " + dir.path());
  Resumed resumed =
      resume_session(dir, request.config, {.allow_change = request.allow_change, .program = request.program});
  check_prompts(*resumed.session, request.read_ahead_s);
  check_disk(plan_disk(request.config, sizes_of(*resumed.session)), request.run_dir);
  warn_of_memory(*resumed.session);
  if (resumed.log_lengths.text) cut_text_log(dir.log_path(), *resumed.log_lengths.text, logged_before);
  update_config(dir, request.config);
  return {.dir = std::move(dir), .resumed = std::move(resumed)};
}

}  // namespace

ModelSizes sizes_of(const Session& s) {
  return sizes_of(s.policy->arch(), s.critic ? std::optional(s.critic->arch()) : std::nullopt);
}

OpenedRun open_run(const TrainRequest& request) {
  return request.resume ? open_again(request) : open_new(request);
}

}  // namespace pan::train
