#include "config/evaluation.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/idle.h"
#include "core/error.h"

namespace pan::config {
namespace {

bool is_below(const std::string& pointer, const std::string& above) {
  return pointer == above || pointer.rfind(above + "/", 0) == 0;
}

std::vector<std::string> notes_of(RunConfig& c, const Places& places) {
  std::vector<std::string> notes;
  for (const core::FieldDoc& doc : core::explain_fields([&](core::Fields& f) { describe(f, c); }))
    if (doc.type != "object" && places.line_of(doc.pointer) == core::kFromOverride &&
        !matters_in_evaluation(doc.pointer))
      notes.push_back(doc.pointer + ": has no effect in an evaluation");
  if (c.eval.max_new_tokens > 0 && places.line_of("/rollout/max_new_tokens") == core::kFromOverride)
    notes.push_back("/rollout/max_new_tokens: has no effect with eval.max_new_tokens above 0");
  const std::vector<std::string> idle = idle_in_evaluation(c);
  notes.insert(notes.end(), idle.begin(), idle.end());
  return notes;
}

}  // namespace

bool matters_in_evaluation(const std::string& pointer) {
  static const std::vector<std::string> keys = {"/seed",
                                                "/threads",
                                                "/model/device",
                                                "/model/dtype",
                                                "/prompt",
                                                "/task",
                                                "/reward",
                                                "/rollout/max_new_tokens",
                                                "/eval/samples",
                                                "/eval/slots",
                                                "/rollout/stop_strings",
                                                "/eval/num_problems",
                                                "/eval/top_k",
                                                "/eval/top_p",
                                                "/eval/max_new_tokens",
                                                "/eval/temperature"};
  return std::any_of(keys.begin(), keys.end(), [&](const std::string& key) {
    return is_below(pointer, key) || is_below(key, pointer);
  });
}

Loaded load_evaluation(core::Json tree, const std::string& source, const std::vector<std::string>& overrides,
                       const std::string& text) {
  Loaded loaded{.config = {}, .notes = {}, .places = Places(source, text)};
  loaded.places.apply(tree, overrides);
  check_task_keys(tree, loaded.places, source);
  core::read_fields([&](core::Fields& f) { describe(f, loaded.config); }, tree, source,
                    [&](const std::string& pointer) { return loaded.places.line_of(pointer); });
  try {
    tasks::check(loaded.config.task);
    tokenizer::check(loaded.config.prompt);
    tasks::command_of(loaded.config.reward);
    check_decoding(loaded.config.eval);
  } catch (core::Error& error) {
    loaded.add_places(error);
    throw;
  }
  loaded.notes = notes_of(loaded.config, loaded.places);
  return loaded;
}

void check_decoding(const eval::EvalConfig& c) {
  PAN_CHECK(c.temperature == 0 || c.temperature >= rollout::kLowestTemperature, kConfig,
            "logits cannot be divided by so small a temperature")
      .pointer("/eval/temperature")
      .expected("0 (greedy) or >= " + core::dump_json(rollout::kLowestTemperature))
      .got(core::dump_json(c.temperature))
      .remedy("Raise it, or set it to 0");
  PAN_CHECK(c.samples == 1 || c.temperature > 0, kConfig,
            "several greedy answers to a problem are all the same")
      .pointer("/eval/samples")
      .expected("1, or eval.temperature > 0")
      .got(std::to_string(c.samples))
      .remedy("Set eval.samples to 1, or eval.temperature to 1.0");
}

}  // namespace pan::config
