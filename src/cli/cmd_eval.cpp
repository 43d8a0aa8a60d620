#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/open_model.h"
#include "config/evaluation.h"
#include "core/error.h"
#include "core/log.h"
#include "core/signals.h"
#include "eval/evaluate.h"
#include "metrics/console.h"
#include "sft/sft_trainer.h"
#include "tasks/registry.h"

namespace pan::cli {
namespace {

struct Options {
  std::string model, task, output, config;
  std::vector<std::string> set;
  std::optional<int64_t> samples, limit;
  std::optional<double> temperature;
};

// The run's own configuration is the default; --config replaces it, --task, flags and --set override single
// keys.
config::RunConfig configuration(const Options& o, const eval::ModelLocation& location) {
  std::vector<std::string> overrides;
  const std::string path = o.config.empty() ? location.run_config : o.config;
  const std::string text = path.empty() ? "" : config::config_text(path);
  core::Json tree =
      path.empty() ? core::Json::object() : core::parse_json(text, path, core::JsonDialect::kWithComments);
  if (tree.contains("sft")) tree = sft::as_run_config(tree);
  if (!o.task.empty() && (!tree.contains("task") || tree["task"].value("name", "") != o.task))
    tree["task"] = {{"name", o.task}};
  PAN_CHECK(tree.contains("task"), kUsage, "no task is named")
      .where("pan-ppo eval")
      .expected("a task: a run or checkpoint brings its own, a model folder has none")
      .got("none")
      .remedy("Add --task gsm8k, --task logic_grid, or --config FILE");
  if (o.samples) overrides.push_back("eval.samples=" + std::to_string(*o.samples));
  if (o.limit) overrides.push_back("eval.num_problems=" + std::to_string(*o.limit));
  if (o.temperature) overrides.push_back("eval.temperature=" + std::to_string(*o.temperature));
  overrides.insert(overrides.end(), o.set.begin(), o.set.end());
  try {
    const config::Loaded loaded =
        config::load_evaluation(std::move(tree), path.empty() ? "the command line" : path, overrides, text);
    for (const std::string& note : loaded.notes) core::log_warn(note);
    return loaded.config;
  } catch (core::Error& error) {
    // A flag is named as it was written.
    // The first setting that it names: "/eval/samples, from --set; /eval/temperature, line 9".
    const std::string at = error.pointer_text().substr(0, error.pointer_text().find(','));
    const char* flag = o.samples && at == "/eval/samples"           ? "--samples"
                       : o.limit && at == "/eval/num_problems"      ? "--limit"
                       : o.temperature && at == "/eval/temperature" ? "--temperature"
                                                                    : nullptr;
    if (flag != nullptr && error.where_text() == "--set") error.where(flag);
    if (at == "/eval/samples") error.remedy(error.remedy_text() + " (--temperature 1)");
    throw;
  }
}

// What was not named on the command line comes from the run or is a default: all of it is said.
std::string settings_line(const config::RunConfig& c) {
  const int64_t limit = c.eval.max_new_tokens > 0 ? c.eval.max_new_tokens : c.rollout.max_new_tokens;
  std::string line =
      "settings: task " + core::dump_json(config::resolved(c)["task"]) + ", " +
      (c.eval.num_problems > 0 ? "the first " + std::to_string(c.eval.num_problems) : std::string("all")) +
      " problems, samples " + std::to_string(c.eval.samples) + ", temperature " +
      core::dump_json(c.eval.temperature) + ", max_new_tokens " + std::to_string(limit);
  if (c.eval.temperature > 0)
    line += ", top_p " + core::dump_json(c.eval.top_p) + ", top_k " + std::to_string(c.eval.top_k);
  return line + ", slots " + std::to_string(c.eval.slots) + ", seed " + std::to_string(c.seed) + ", dtype " +
         c.model.dtype;
}

int run(const Options& o) {
  core::install_stop_signals();
  const eval::ModelLocation location = eval::locate_model(o.model);
  config::RunConfig config = configuration(o, location);
  config.model.path = o.model;
  eval::make_output_folder(o.output);  // before anything is generated
  const auto task = tasks::make(config.task, config.reward);
  const OpenModel m = open_model(config.model, config.prompt, config.threads);
  core::log_info("evaluating " + m.location.description + " on " + task->name() + ", " +
                 (config.eval.temperature == 0 ? std::string("greedy")
                                               : "temperature " + core::dump_json(config.eval.temperature)) +
                 ", prompt template " + m.chat->name());
  core::log_info(settings_line(config));
  std::unique_ptr<metrics::Progress> bar;
  const eval::Evaluation e = eval::evaluate(
      {.decoder = *m.decoder,
       .tokenizer = *m.tokenizer,
       .task = *task,
       .encode = [&](const tasks::Problem& p) { return m.chat->encode_prompt(*m.tokenizer, p.prompt); },
       .stop_tokens = m.stop_tokens,
       .config = config.eval,
       .default_max_new_tokens = config.rollout.max_new_tokens,
       .stop_strings = config.rollout.stop_strings,
       .seed = static_cast<uint64_t>(config.seed),
       .description = core::dump_json({{"model", m.location.policy_folder},
                                       {"version", version_text()},
                                       {"config", config::resolved(config)}}),
       .progress =
           [&](int64_t done, int64_t total) {
             if (!bar) bar = std::make_unique<metrics::Progress>("evaluating", total, "answer");
             bar->update(done);
           },
       .should_stop = [] { return core::stop_requested(); }});
  bar.reset();
  eval::write_evaluation(o.output, e);
  for (const std::string& line : eval::evaluation_lines(e)) std::printf("%s\n", line.c_str());
  std::printf("results: %s/results.json, answers: %s/samples.jsonl\n", o.output.c_str(), o.output.c_str());
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* eval = app.add_subcommand("eval", "Run a task on a model and report accuracy with intervals");
  eval->add_option("--model", o->model, "Run folder, checkpoint or Hugging Face folder")->required();
  eval->add_option("--task", o->task, "Task; default: that of the run (gsm8k, logic_grid, jsonl, mix)");
  eval->add_option("--output", o->output, "Folder for results.json and samples.jsonl")->required();
  eval->add_option("--config", o->config, "Configuration file instead of the run's own");
  eval->add_option("--samples", o->samples, "Answers per problem (pass@k, maj@k); needs --temperature");
  eval->add_option("--temperature", o->temperature, "0 = greedy");
  eval->add_option("--limit", o->limit, "Only the first n problems");
  eval->add_option("--set", o->set, "Override one key: a.b=value; may be repeated")->allow_extra_args(false);
  eval->callback([o, &action] { action = [o] { return run(*o); }; });
}

}  // namespace pan::cli
