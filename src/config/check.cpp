// What a configuration cannot be: pairs that exclude each other, texts that mean nothing.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "config/evaluation.h"
#include "config/idle.h"
#include "config/run_config.h"
#include "core/error.h"
#include "core/json.h"
#include "core/nearest.h"
#include "train/length_curriculum_config.h"

namespace pan::config {
namespace {

std::string meant(const std::string& word, const std::vector<std::string>& names) {
  const std::string near = core::nearest(word, names);
  return near.empty() ? "" : "Did you mean \"" + near + "\"? ";
}

// Which numbers exist is known with the model only.
void check_layers(const std::string& text) {
  const core::Json value = text.empty() ? core::Json() : core::parse_json(text, "rhythm.layers");
  bool good = value == "default" || value == "all";
  if (value.is_array() && !value.empty()) {
    std::set<int64_t> seen;
    good = std::all_of(value.begin(), value.end(), [&](const core::Json& x) {
      return x.is_number_integer() && x.get<int64_t>() >= 0 && seen.insert(x.get<int64_t>()).second;
    });
  }
  PAN_CHECK(good, kConfig, "this names no layers to tap")
      .pointer("/rhythm/layers")
      .expected("\"default\", \"all\" or a list of layer numbers, each once, such as [3, 4]")
      .got(text.empty() ? "null" : text)
      .remedy((value.is_string() ? meant(value.get<std::string>(), {"default", "all"}) : "") +
              "`pan-ppo config explain rhythm.layers` says what it means");
}

void check_temperature(const RunConfig& c) {
  PAN_CHECK(c.rollout.temperature > 0, kConfig,
            "training cannot sample greedily: every answer to a prompt would be the same")
      .pointer("/rollout/temperature")
      .expected("> 0")
      .got("0")
      .remedy("Set rollout.temperature to 1.0");
  PAN_CHECK(c.rollout.temperature >= rollout::kLowestTemperature, kConfig,
            "logits cannot be divided by so small a temperature")
      .pointer("/rollout/temperature")
      .expected(">= " + core::dump_json(rollout::kLowestTemperature))
      .got(core::dump_json(c.rollout.temperature))
      .remedy("Raise it; 1.0 is usual in training");
}

void check_stages(const RunConfig& c) {
  for (const train::LengthStage& stage :
       train::length_stages(c.train.length_curriculum, c.rollout.max_new_tokens)) {
    PAN_CHECK(c.rl.advantage.overlong_buffer_tokens <= stage.max_new_tokens, kConfig,
              "the overlong buffer is longer than the longest response of a stage")
        .pointer("/advantage/overlong_buffer_tokens")
        .expected("at most the " + std::to_string(stage.max_new_tokens) +
                  " tokens of train.length_curriculum from iteration " + std::to_string(stage.from) + " on")
        .got(std::to_string(c.rl.advantage.overlong_buffer_tokens));
  }
}

}  // namespace

void check_metric(const eval::EvalConfig& e, const checkpoint::CheckpointConfig& c) {
  const std::string prefix = "eval/", &metric = c.metric;
  const bool is_eval = metric.rfind(prefix, 0) == 0;
  const std::vector<std::string> names = eval::metric_names(e);
  const std::string name = is_eval ? metric.substr(prefix.size()) : metric;
  // What follows these is the name of a size or task, or of a score, which may be that of a program.
  const bool is_part = (name.rfind("accuracy/", 0) == 0 && name != "accuracy/") ||
                       (name.rfind("score/", 0) == 0 && name != "score/");
  std::vector<std::string> keys;
  std::string all;
  for (const std::string& n : names) {
    keys.push_back(prefix + n);
    all += prefix + n + ", ";
  }
  PAN_CHECK(
      is_eval && (is_part || std::find(names.begin(), names.end(), name) != names.end()), kConfig,
      is_eval ? "an evaluation has no such figure" : "only an evaluation can say which checkpoint is best")
      .pointer("/checkpoint/metric")
      .expected(all + prefix + "accuracy/SIZE or " + prefix + "score/TERM (docs/metrics.md)")
      .got("\"" + metric + "\"")
      .remedy(meant(prefix + name, keys) + "Set checkpoint.metric to eval/accuracy");
}

std::vector<std::string> check(const RunConfig& c) {
  rhythm::check(c.rhythm);
  check_layers(c.rhythm.layers);
  tasks::check(c.task);
  tokenizer::check(c.prompt);
  tasks::command_of(c.reward);
  std::vector<std::string> notes =
      rl::check(c.rl, {c.sequences_per_iteration(), c.train.samples_per_prompt, c.rollout.max_new_tokens});
  check_stages(c);
  check_temperature(c);
  PAN_CHECK(
      !c.train.dynamic_sampling.enabled || c.train.samples_per_prompt > 1, kConfig,
      "with one answer a prompt, all answers to a prompt have the same reward and dynamic sampling drops all")
      .pointer("/train/dynamic_sampling/enabled")
      .expected("false, or train.samples_per_prompt >= 2")
      .got("true with train.samples_per_prompt = " + std::to_string(c.train.samples_per_prompt))
      .remedy("Raise train.samples_per_prompt or turn train.dynamic_sampling.enabled off");
  check_decoding(c.eval);
  check_metric(c.eval, c.checkpoint);
  if (c.rollout.top_k > 0 || c.rollout.top_p < 1)
    notes.push_back(
        "/rollout: top_k and top_p cut the distribution while training uses the full one; the gradient is "
        "biased. The cut mass is logged as rollout/cut_mass_mean");
  const std::vector<std::string> idle = idle_settings(c);
  notes.insert(notes.end(), idle.begin(), idle.end());
  return notes;
}

}  // namespace pan::config
