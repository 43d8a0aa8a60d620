#include "rollout/record.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/json.h"

namespace pan::rollout {
namespace {

core::Json number_or_null(double x) { return std::isfinite(x) ? core::Json(x) : core::Json(nullptr); }

core::Json numbers(const std::map<std::string, double>& values) {
  core::Json out = core::Json::object();
  for (const auto& [name, value] : values) out[name] = number_or_null(value);
  return out;
}

core::Json step_to_json(const StepRecord& step) {
  core::Json out = {{"begin", step.begin}, {"end", step.end}, {"text", step.text}};
  for (const auto& [name, value] : step.values) out[name] = number_or_null(value);
  return out;
}

}  // namespace

Record make_record(const Sample& sample, const tokenizer::Tokenizer& tokenizer) {
  Record r;
  r.sample_id = sample.sample_id;
  r.prompt = tokenizer.decode(sample.prompt);
  r.response = sample.text;
  r.finish = sample.finish;
  r.num_prompt_tokens = static_cast<int64_t>(sample.prompt.size());
  r.num_response_tokens = static_cast<int64_t>(sample.response.size());
  const double sum = std::accumulate(sample.logprobs.begin(), sample.logprobs.end(), 0.0);
  r.mean_logprob = sample.logprobs.empty() ? 0 : sum / static_cast<double>(sample.logprobs.size());
  r.cut_mass = sample.cut_mass;
  return r;
}

nlohmann::ordered_json to_json(const Record& r) {
  core::Json out = core::Json::object();
  if (r.iteration >= 0) out["iteration"] = r.iteration;
  if (!r.id.empty()) out["id"] = r.id;
  out["sample_id"] = r.sample_id;
  out["prompt"] = r.prompt;
  out["response"] = r.response;
  out["finish"] = to_string(r.finish);
  if (!r.rewards.empty()) out["rewards"] = numbers(r.rewards);
  for (const auto& [name, text] : r.notes) out[name] = text;
  out["num_prompt_tokens"] = r.num_prompt_tokens;
  out["num_response_tokens"] = r.num_response_tokens;
  out["mean_logprob"] = number_or_null(r.mean_logprob);
  if (r.cut_mass != 0) out["cut_mass"] = r.cut_mass;
  if (!r.steps.empty()) {
    core::Json steps = core::Json::array();
    for (const StepRecord& s : r.steps) steps.push_back(step_to_json(s));
    out["steps"] = std::move(steps);
  }
  return out;
}

std::string record_line(const Record& record) { return core::dump_json(to_json(record)) + "\n"; }

}  // namespace pan::rollout
