#include <nlohmann/json.hpp>
#include <set>

#include "config/evaluation.h"
#include "config/idle.h"
#include "config/load.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "sft/sft_trainer.h"

namespace pan::sft {

namespace {

// What a training run has too.
config::RunConfig shared_settings(const SftConfig& c) {
  config::RunConfig run;
  run.model = c.model;
  run.prompt = c.prompt;
  run.task = c.task;
  run.eval = c.eval;
  run.checkpoint = c.checkpoint;
  return run;
}

void check_model(const InitConfig& init, const model::LoraConfig& lora) {
  PAN_CHECK(init.hidden_size == 0 || (init.num_layers > 0 && init.num_heads > 0 && init.num_kv_heads > 0 &&
                                      init.intermediate_size > 0),
            kConfig, "a new model needs all its sizes")
      .pointer("/init")
      .expected("hidden_size, intermediate_size, num_layers, num_heads and num_kv_heads above 0")
      .got("one that is 0")
      .remedy("Set init.hidden_size and the others, or leave init out to start from model.path");
  PAN_CHECK(init.hidden_size == 0 ||
                (init.hidden_size % (2 * init.num_heads) == 0 && init.num_heads % init.num_kv_heads == 0),
            kConfig, "the heads do not divide")
      .pointer("/init/num_heads")
      .expected(
          "init.hidden_size / init.num_heads an even number, init.num_heads a multiple of init.num_kv_heads")
      .got(std::to_string(init.hidden_size) + " / " + std::to_string(init.num_heads) + " and " +
           std::to_string(init.num_heads) + " / " + std::to_string(init.num_kv_heads));
  PAN_CHECK(init.hidden_size == 0 || !lora.enabled(), kConfig, "adapters need weights to adapt")
      .pointer("/model/lora/rank")
      .expected("0 with init.hidden_size above 0: a new model is trained whole")
      .got(std::to_string(lora.rank))
      .remedy("Set model.lora.rank to 0, or leave init out to start from model.path");
}

void check(const SftConfig& c) {
  check_model(c.init, c.model.lora);
  tasks::check(c.task);
  tokenizer::check(c.prompt);
  config::check_decoding(c.eval);
  config::check_metric(c.eval, c.checkpoint);
}

std::vector<std::string> idle_notes(const SftConfig& c) {
  std::vector<std::string> notes = config::idle_in_supervised(shared_settings(c));
  const auto add = [&](bool is_idle, const char* pointer, const char* why) {
    if (!is_idle) return;
    for (std::string& note : config::idle_settings(resolved(c), resolved(SftConfig{}), {pointer}, why))
      notes.push_back(std::move(note));
  };
  add(c.init.hidden_size == 0, "/init", "with init.hidden_size = 0, where model.path is loaded");
  add(c.eval.every == 0, "/eval_max_new_tokens", "with eval.every = 0");
  add(c.eval.every > 0 && c.eval.max_new_tokens > 0, "/eval_max_new_tokens",
      "with eval.max_new_tokens above 0");
  return notes;
}

}  // namespace

void LoadedSft::add_places(core::Error& error) const {
  SftConfig copy = config;
  places.add_to(error, config::pointers_of([&](core::Fields& f) { describe(f, copy); }));
}

LoadedSft load_sft(const std::string& path, const std::vector<std::string>& overrides) {
  const std::string text = config::config_text(path);
  core::Json json = core::parse_json(text, path, core::JsonDialect::kWithComments);
  LoadedSft loaded{.config = {}, .notes = {}, .places = config::Places(path, text)};
  loaded.places.apply(json, overrides);
  config::check_task_keys(json, loaded.places, path);
  core::read_fields([&](core::Fields& f) { describe(f, loaded.config); }, json, path,
                    [&](const std::string& pointer) { return loaded.places.line_of(pointer); });
  try {
    check(loaded.config);
  } catch (core::Error& error) {
    loaded.add_places(error);
    throw;
  }
  loaded.notes = idle_notes(loaded.config);
  return loaded;
}

core::Json resolved(const SftConfig& config) {
  SftConfig copy = config;
  return core::print_fields([&](core::Fields& f) { describe(f, copy); });
}

std::vector<std::string> differences(const SftConfig& before, const SftConfig& after) {
  // The number of steps matters where the learning rate falls towards the end of the run.
  std::set<std::string> cosmetic = {"/sft/log_every", "/eval/slots", "/model/export_dtype"};
  if (after.optimizer.schedule == rl::Schedule::kConstant) cosmetic.insert("/sft/steps");
  const core::Json a = resolved(before).flatten(), b = resolved(after).flatten();
  std::vector<std::string> found;
  const auto text = [](const core::Json& flat, const std::string& key) {
    return flat.contains(key) ? core::dump_json(flat[key]) : std::string("(absent)");
  };
  std::set<std::string> keys;
  for (const auto& [key, value] : a.items()) keys.insert(key);
  for (const auto& [key, value] : b.items()) keys.insert(key);
  for (const std::string& key : keys)
    if (text(a, key) != text(b, key) && !cosmetic.contains(key) && !key.starts_with("/checkpoint/"))
      found.push_back(key + ": " + text(a, key) + " -> " + text(b, key));
  return found;
}

core::Json as_run_config(const core::Json& sft_config) {
  core::Json run = core::Json::object();
  for (const char* key : {"seed", "threads", "model", "prompt", "task", "eval"})
    if (sft_config.contains(key)) run[key] = sft_config[key];
  if (sft_config.contains("eval_max_new_tokens"))
    run["rollout"] = {{"max_new_tokens", sft_config["eval_max_new_tokens"]}};
  return run;
}

}  // namespace pan::sft
