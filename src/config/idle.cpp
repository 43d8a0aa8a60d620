#include "config/idle.h"

#include <nlohmann/json.hpp>
#include <set>

#include "config/load.h"

namespace pan::config {
namespace {

constexpr char kNoAdapters[] = "with model.lora.rank = 0";

void collect(const core::Json& given, const core::Json& standard, const std::string& pointer,
             std::vector<std::string>& out) {
  if (!given.is_object()) {
    if (given != standard) out.push_back(pointer);
    return;
  }
  for (const auto& [key, value] : given.items()) {
    const bool known = standard.is_object() && standard.contains(key);
    collect(value, known ? standard.at(key) : core::Json(), pointer + "/" + key, out);
  }
}

core::Json defaults_for(const RunConfig& c) {
  RunConfig standard;
  standard.task.name = c.task.name;
  return resolved(standard);
}

class Notes {
 public:
  Notes(const core::Json& given, const core::Json& standard) { collect(given, standard, "", changed_); }
  explicit Notes(const RunConfig& c) : Notes(resolved(c), defaults_for(c)) {}

  // Each of `pointers`, settings or groups of them, is idle for this reason.
  void idle(bool is_idle, const std::vector<std::string>& pointers, const std::string& why) {
    if (!is_idle) return;
    for (const std::string& pointer : pointers)
      for (const std::string& changed : changed_)
        if ((changed == pointer || changed.rfind(pointer + "/", 0) == 0) && said_.insert(changed).second)
          notes_.push_back(changed + ": has no effect " + why);
  }
  std::vector<std::string> take() { return std::move(notes_); }

 private:
  std::vector<std::string> changed_, notes_;
  std::set<std::string> said_;
};

void add_rhythm(Notes& notes, const rhythm::RhythmConfig& c) {
  // Everything below /rhythm but `enabled` itself.
  if (!c.enabled) {
    rhythm::RhythmConfig copy;
    std::vector<std::string> all;
    for (const core::FieldDoc& doc : core::explain_fields([&](core::Fields& f) { describe(f, copy); }))
      if (doc.type != "object" && doc.pointer != "/enabled") all.push_back("/rhythm" + doc.pointer);
    notes.idle(c.lambda > 0, {"/rhythm/lambda"}, "with rhythm.enabled = false");
    std::erase(all, "/rhythm/lambda");
    notes.idle(true, all, "with rhythm.enabled = false");
    return;
  }
  const std::string no_credit = "with rhythm.credit = none";
  notes.idle(c.lambda == 0,
             {"/rhythm/control", "/rhythm/form", "/rhythm/w_pre", "/rhythm/w_anc", "/rhythm/cap"},
             "where rhythm.lambda is 0");
  notes.idle(c.steps != rhythm::StepRule::kWaad, {"/rhythm/step_q"}, "unless rhythm.steps is waad");
  notes.idle(c.credit == rhythm::Credit::kNone, {"/rhythm/credit_q", "/rhythm/gamma_amp"}, no_credit);
  notes.idle(c.credit != rhythm::Credit::kCoupled,
             {"/rhythm/k", "/rhythm/alpha", "/rhythm/tau_waad_quantile", "/rhythm/tau_delta_q"},
             "unless rhythm.credit is coupled");
}

void add_update(Notes& notes, const rl::RlConfig& c) {
  notes.idle(c.kl.coefficient == 0 && c.kl.in != rl::KlPlace::kNone, {"/kl/in", "/kl/estimator"},
             "with kl.coefficient = 0");
  notes.idle(c.kl.in == rl::KlPlace::kNone, {"/kl/coefficient", "/kl/estimator"}, "with kl.in = none");
  notes.idle(!rl::needs_critic(c), {"/critic/mode", "/critic/value_clip", "/critic_optimizer"},
             "without a critic, which only advantage.estimator = gae has");
}

void add_decoding(Notes& notes, const eval::EvalConfig& c) {
  notes.idle(c.temperature == 0, {"/eval/top_p", "/eval/top_k"}, "with eval.temperature = 0 (greedy)");
}

void add_evaluation(Notes& notes, const RunConfig& c) {
  const std::string never = "in training with eval.every = 0";
  notes.idle(c.eval.every == 0,
             {"/eval/at_start", "/eval/num_problems", "/eval/samples", "/eval/temperature", "/eval/top_p",
              "/eval/top_k", "/eval/max_new_tokens", "/eval/slots"},
             never + " (`pan-ppo eval` takes it)");
  notes.idle(c.eval.every == 0,
             {"/train/early_stop_evals", "/checkpoint/keep_best", "/checkpoint/metric", "/checkpoint/better"},
             "with eval.every = 0");
  add_decoding(notes, c.eval);
}

void add_prompt(Notes& notes, const tokenizer::PromptConfig& c) {
  const std::string& name = c.template_name;
  if (name == "auto") return;  // what the model folder says decides, and is known later
  const std::string why = "with prompt.template = " + name;
  notes.idle(name != "llama3", {"/prompt/date"}, why);
  notes.idle(name != "qwen3", {"/prompt/enable_thinking"}, why);
  notes.idle(name != "custom", {"/prompt/custom"}, why);
  notes.idle(name != "plain" && name != "custom", {"/prompt/end_of_turn"}, why);
}

void add_task(Notes& notes, const RunConfig& c) {
  const tasks::TaskConfig& t = c.task;
  const bool few_shot = t.name == "gsm8k"   ? t.gsm8k.few_shot.few_shot > 0
                        : t.name == "jsonl" ? t.jsonl.few_shot.few_shot > 0
                                            : t.logic_grid.few_shot.few_shot > 0;
  notes.idle(!few_shot, {"/task/few_shot_seed"}, "with task.few_shot = 0");
  notes.idle(tasks::command_of(c.reward).empty(), {"/reward/timeout_s", "/reward/task_weight"},
             "without reward.command");
}

}  // namespace

std::vector<std::string> idle_settings(const core::Json& given, const core::Json& standard,
                                       const std::vector<std::string>& pointers, const std::string& why) {
  Notes notes(given, standard);
  notes.idle(true, pointers, why);
  return notes.take();
}

std::vector<std::string> idle_settings(const RunConfig& c) {
  Notes notes(c);
  notes.idle(!c.model.lora.enabled(), {"/model/lora"}, kNoAdapters);
  add_prompt(notes, c.prompt);
  add_task(notes, c);
  notes.idle(!c.train.dynamic_sampling.enabled, {"/train/dynamic_sampling/max_refills"},
             "with train.dynamic_sampling.enabled = false");
  add_update(notes, c.rl);
  add_rhythm(notes, c.rhythm);
  add_evaluation(notes, c);
  notes.idle(c.checkpoint.keep_best == 0 && c.train.early_stop_evals == 0,
             {"/checkpoint/metric", "/checkpoint/better"},
             "with checkpoint.keep_best = 0 and train.early_stop_evals = 0");
  return notes.take();
}

std::vector<std::string> idle_in_supervised(const RunConfig& c) {
  Notes notes(c);
  notes.idle(!c.model.lora.enabled(), {"/model/lora"}, kNoAdapters);
  add_prompt(notes, c.prompt);
  add_task(notes, c);
  add_evaluation(notes, c);
  notes.idle(c.checkpoint.keep_best == 0, {"/checkpoint/metric", "/checkpoint/better"},
             "with checkpoint.keep_best = 0");
  return notes.take();
}

std::vector<std::string> idle_in_evaluation(const RunConfig& c) {
  Notes notes(c);
  add_prompt(notes, c.prompt);
  add_task(notes, c);
  add_decoding(notes, c.eval);
  return notes.take();
}

}  // namespace pan::config
