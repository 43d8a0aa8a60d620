#include "experiment/same_problems.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "config/load.h"
#include "core/error.h"

namespace pan::experiment {
namespace {

using core::Json;

void flatten(const Json& json, const std::string& pointer, std::map<std::string, std::string>& out) {
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) flatten(value, pointer + "/" + key, out);
  } else {
    out[pointer] = core::dump_json(json);
  }
}

// Every setting, with the lengths that evaluations really use.
std::map<std::string, std::string> settings_of(const config::RunConfig& c) {
  std::map<std::string, std::string> settings;
  flatten(config::resolved(c), "", settings);
  if (c.eval.max_new_tokens == 0) settings["/eval/max_new_tokens"] = std::to_string(c.rollout.max_new_tokens);
  return settings;
}

bool begins_with(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }

// How a problem is put to the model, as against which problem it is and what counts as right.
bool is_style(const std::string& pointer) {
  static const std::set<std::string> keys = {
      "/task/prompting",     "/task/few_shot",      "/task/few_shot_seed",
      "/task/prompt_prefix", "/task/prompt_suffix", "/task/direct_suffix",
      "/task/cot_suffix",    "/task/prompt_style",  "/task/answer_style"};
  return keys.count(pointer) != 0 || begins_with(pointer, "/prompt/");
}

bool is_free(const std::string& pointer, bool evaluate_only) {
  if (evaluate_only)
    return is_style(pointer) || (!begins_with(pointer, "/task/") && pointer != "/eval/num_problems");
  static const std::set<std::string> fixed = {"/train/iterations", "/train/prompts_per_iteration",
                                              "/train/max_prompt_tokens", "/train/overlong_prompts",
                                              "/rollout/stop_strings"};
  // Not what an evaluation finds, only when there is one and how fast it is.
  static const std::set<std::string> cadence = {"/eval/every", "/eval/at_start", "/eval/slots"};
  if (begins_with(pointer, "/eval/")) return cadence.count(pointer) != 0;
  return fixed.count(pointer) == 0 && !begins_with(pointer, "/task/") && !begins_with(pointer, "/prompt/");
}

}  // namespace

void check_same_problems(const Experiment& e, const Arm& arm, const config::RunConfig& base,
                         const config::RunConfig& config) {
  const std::map<std::string, std::string> shared = settings_of(base), own = settings_of(config);
  std::set<std::string> pointers;
  for (const auto* settings : {&shared, &own})
    for (const auto& [pointer, value] : *settings) pointers.insert(pointer);
  for (const std::string& pointer : pointers) {
    if (is_free(pointer, arm.evaluate_only)) continue;
    const auto value_in = [&](const std::map<std::string, std::string>& settings) {
      const auto at = settings.find(pointer);
      return at == settings.end() ? std::string("nothing") : at->second;
    };
    const std::string expected = value_in(shared), got = value_in(own);
    PAN_CHECK(expected == got, kConfig,
              "all arms have to get the same problems in the same order and the same evaluation")
        .where(e.source + ", arm " + arm.name)
        .pointer(pointer)
        .expected(expected + ", as in the base")
        .got(got)
        .remedy(std::string("Put the change into `set`, where all arms share it") +
                (arm.evaluate_only
                     ? ""
                     : ", or set the arm's evaluate_only = true: prompting without training may "
                       "put a problem differently"));
  }
}

std::vector<std::string> doubts_of(const Arm& arm, const config::RunConfig& base,
                                   const config::RunConfig& config) {
  std::vector<std::string> doubts;
  const auto doubt = [&](const std::string& text) { doubts.push_back("arm " + arm.name + ": " + text); };
  if (config.reward.command != base.reward.command)
    doubt(
        "/reward/command: is not that of the base, and it judges evaluations too: right may not mean the "
        "same "
        "in all arms");
  if (arm.evaluate_only) return doubts;
  if (config.train.dynamic_sampling.enabled)
    doubt(
        "/train/dynamic_sampling/enabled: prompts that teach nothing are replaced by further ones, so this "
        "arm "
        "sees other prompts than the others");
  if (config.model.path != base.model.path) doubt("/model/path: starts from another model than the base");
  const rhythm::RhythmConfig& r = config.rhythm;
  if (r.enabled && r.lambda > 0 && r.guard_window > config.train.iterations)
    doubt("/rhythm/guard_window: " + std::to_string(r.guard_window) + " iterations never come together in " +
          std::to_string(config.train.iterations) +
          ", so no run can warn of reward hacking; the report still looks at the trends");
  return doubts;
}

}  // namespace pan::experiment
