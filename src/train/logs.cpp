#include "train/logs.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/file.h"
#include "core/log.h"
#include "core/log_file.h"
#include "rollout/record.h"

namespace pan::train {
namespace {

double wall_clock_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Cuts a file back before its writer opens it.
std::string cut(const std::string& path, uint64_t bytes) {
  metrics::cut_file(core::disk(), path, bytes);
  return path;
}

rollout::Record record_of(const Session& s, const Iteration& it, size_t i) {
  const auto group_size = static_cast<size_t>(s.config.train.samples_per_prompt);
  const tasks::Problem& problem = it.prompts[i / group_size].problem;
  rollout::Record r = rollout::make_record(it.samples[i], *s.tokenizer);
  r.iteration = it.index + 1;
  r.id = problem.id;
  r.rewards = it.verdicts[i].terms;
  const rl::Paid& paid = it.advantages.paid[i];
  r.rewards["task"] = it.task_rewards[i];
  r.rewards["length_penalty"] = paid.length_penalty;
  r.rewards["kl"] = paid.kl;
  r.rewards["total"] = paid.total;
  r.notes["extracted"] = it.verdicts[i].extracted;
  r.notes["reference"] = problem.reference;
  if (it.rhythm.empty()) return r;
  const rhythm::SequenceReward& reward = it.rhythm_rewards.sequences[i];
  r.rewards["rhythm"] = reward.total;
  const rl::TrainSequence& sequence = it.sequences[i];
  for (size_t k = 0; k < reward.steps.size(); ++k) {
    const rhythm::StepRhythm& step = it.rhythm[i].steps[k];
    rollout::StepRecord out;
    out.begin = step.step.begin - sequence.prompt_length;
    out.end = step.step.end - sequence.prompt_length;
    for (int64_t t = step.step.begin; t <= step.step.end; ++t) {
      const int64_t id = sequence.tokens[static_cast<size_t>(t)];
      if (!s.tokenizer->is_special(id)) out.text += s.tokenizer->token_bytes(id);
    }
    out.values = {{"entropy_term", rhythm::entropy_term(step, s.config.rhythm.form)},
                  {"concentration_term", rhythm::concentration_term(step, s.config.rhythm.form)},
                  {"z_entropy", reward.steps[k].z_entropy},
                  {"z_concentration", reward.steps[k].z_concentration},
                  {"reward", reward.steps[k].reward},
                  {"paid", reward.steps[k].paid}};
    r.steps.push_back(std::move(out));
  }
  return r;
}

}  // namespace

core::Json LogLengths::to_json() const {
  core::Json json = {{"metrics", metrics}, {"rollouts", rollouts}, {"events", events}};
  if (text) json["text"] = *text;
  return json;
}

LogLengths LogLengths::from_json(const core::Json& json, const std::string& source) {
  auto get = [&](const char* key) {
    return static_cast<uint64_t>(core::get_required<int64_t>(json, key, source));
  };
  LogLengths lengths{
      .metrics = get("/metrics"), .rollouts = get("/rollouts"), .events = get("/events"), .text = {}};
  if (json.contains("text")) lengths.text = get("/text");
  return lengths;
}

void cut_text_log(const std::string& path, uint64_t recorded, uint64_t before) {
  if (recorded >= before) return;
  const std::string text = core::read_file(path);
  std::string kept = text.substr(0, recorded);
  std::istringstream tail(text.substr(recorded, before - recorded));
  for (std::string line; std::getline(tail, line);)
    if (line.find(" error: ") == line.find(' ') && line.find(' ') != std::string::npos) kept += line + "\n";
  core::set_log_file("");
  core::write_file_atomic(core::disk(), path, kept + text.substr(before));
  core::set_log_file(path);
}

LoggedTimes newest_times(const std::string& metrics_path) {
  LoggedTimes times;
  if (!core::exists(metrics_path)) return times;
  const std::string text = core::read_file(metrics_path);
  auto newest = [&](const std::string& key) {
    const size_t at = text.rfind("\"" + key + "\":");
    return at == std::string::npos ? 0.0 : std::strtod(text.c_str() + at + key.size() + 3, nullptr);
  };
  times.iteration_s = newest("timing_s/step");
  times.evaluation_s = newest("timing_s/testing");
  return times;
}

RunLogs::RunLogs(const RunDir& dir, bool tensorboard, const LogLengths& lengths)
    : metrics_(core::disk(), cut(dir.metrics_path(), lengths.metrics)),
      rollouts_(core::disk(), cut(dir.rollouts_path(), lengths.rollouts)) {
  if (!tensorboard) return;
  cut(metrics::EventWriter::path_in(dir.tensorboard_folder()), lengths.events);
  events_ = std::make_unique<metrics::EventWriter>(core::disk(), dir.tensorboard_folder(), wall_clock_s());
}

void RunLogs::iteration(const Session& s, const Iteration& it) {
  core::Json line = {{"event", "iteration"}, {"iteration", it.index + 1}};
  for (const auto& [key, value] : it.metrics) line[key] = value;
  metrics_.write(line);
  if (events_) events_->write(it.index + 1, it.metrics, wall_clock_s());
  for (size_t i = 0; i < it.samples.size(); ++i) rollouts_.write(rollout::to_json(record_of(s, it, i)));
}

void RunLogs::evaluation(int64_t iteration, const metrics::Values& values) {
  core::Json line = {{"event", "evaluation"}, {"iteration", iteration}};
  for (const auto& [key, value] : values) line[key] = value;
  metrics_.write(line);
  if (events_) events_->write(iteration, values, wall_clock_s());
}

void RunLogs::show_sample(const Session& s, const Iteration& it) const {
  const rollout::Record r = record_of(s, it, 0);
  std::string text = "  sample of " + r.id + ", " + std::to_string(r.num_response_tokens) +
                     " tokens, ended by " + std::string(rollout::to_string(r.finish)) + "\n";
  auto indented = [](const std::string& block) {
    std::string out = "  | ";
    for (char c : block) {
      out += c;
      if (c == '\n') out += "  | ";
    }
    return out + "\n";
  };
  const std::string& prompt = it.prompts[0].problem.prompt;
  text += indented(prompt.size() > 600 ? prompt.substr(0, 600) + " ..." : prompt) + "  >\n" +
          indented(r.response);
  char numbers[160];
  std::snprintf(numbers, sizeof numbers, "  task %.3g", it.task_rewards[0]);
  text += numbers;
  if (!it.rhythm.empty()) {
    std::snprintf(numbers, sizeof numbers,
                  ", rhythm %+.3g over %zu steps:", it.rhythm_rewards.sequences[0].total,
                  it.rhythm_rewards.sequences[0].steps.size());
    text += numbers;
    for (const rhythm::StepReward& step : it.rhythm_rewards.sequences[0].steps) {
      std::snprintf(numbers, sizeof numbers, " %+.2f", step.reward);
      text += numbers;
    }
  }
  core::log_info(text);
}

LogLengths RunLogs::sync() {
  metrics_.sync();
  rollouts_.sync();
  if (events_) events_->sync();
  return {.metrics = metrics_.size_bytes(),
          .rollouts = rollouts_.size_bytes(),
          .events = events_ ? events_->size_bytes() : 0,
          .text = core::sync_log_file()};
}

}  // namespace pan::train
