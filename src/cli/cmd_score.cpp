#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "analysis/score_file.h"
#include "cli/chat_options.h"
#include "cli/commands.h"
#include "cli/open_model.h"
#include "core/json.h"
#include "core/log.h"
#include "core/schema.h"
#include "core/signals.h"
#include "metrics/console.h"

namespace pan::cli {
namespace {

struct Options {
  train::ModelConfig model;
  ChatOptions chat;
  std::string input, output, tensors, layers, head_groups;
  std::vector<std::string> rhythm;
  int64_t threads = 0, micro_batch_tokens = 4096;
};

// "all", "default" or "3,4,5" as the setting rhythm.layers.
std::string layers_setting(const std::string& text) {
  if (text == "all" || text == "default") return "\"" + text + "\"";
  return text.front() == '[' ? text : "[" + text + "]";
}

core::Json rhythm_tree(const Options& o) {
  core::Json tree = core::parse_json("{}", "--rhythm");
  for (const std::string& assignment : o.rhythm) core::apply_override(tree, assignment);
  if (!o.layers.empty()) core::apply_override(tree, "layers=" + layers_setting(o.layers));
  return tree;
}

rhythm::RhythmConfig rhythm_config(const core::Json& tree) {
  rhythm::RhythmConfig config;
  core::read_fields([&](core::Fields& f) { describe(f, config); }, tree, "--rhythm");
  rhythm::check(config, "/rhythm");
  return config;
}

int run(const Options& o) {
  core::install_stop_signals();
  const OpenModel m = open_model(o.model, o.chat.prompt(), o.threads);
  const core::Json tree = rhythm_tree(o);
  const bool layers_chosen = tree.contains("layers");
  const rhythm::RhythmConfig config = rhythm_config(tree);
  if (layers_chosen && !o.head_groups.empty() && o.tensors.empty())
    core::log_warn("--layers", "--layers has no effect with --head-groups and without --tensors");
  rhythm::HeadGroups groups;
  if (!o.head_groups.empty()) groups = analysis::load_head_groups(o.head_groups);
  std::unique_ptr<metrics::Progress> bar;
  const analysis::ScoreCounts counts = analysis::score_file(
      {.decoder = *m.decoder,
       .tokenizer = *m.tokenizer,
       .input = o.input,
       .output = o.output,
       .tensors = o.tensors,
       .rhythm = config,
       .groups = groups,
       .layers_chosen = layers_chosen,
       .encode_prompt = [&](const std::string& prompt) { return encode_prompt(m, prompt); },
       .micro_batch_tokens = o.micro_batch_tokens,
       .progress =
           [&](int64_t done, int64_t total) {
             if (!bar) bar = std::make_unique<metrics::Progress>("scoring", total, "batch");
             bar->update(done);
             return !core::stop_requested();
           }});
  bar.reset();
  core::log_info(
      std::to_string(counts.num_rows) + " rows, " + std::to_string(counts.num_tokens) + " tokens, " +
      std::to_string(counts.num_steps) + " steps written to " + o.output +
      (counts.groups_file.empty() ? "" : "; head groups calibrated on them: " + counts.groups_file));
  return 0;
}

}  // namespace

void add_score(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* s = app.add_subcommand("score", "Log-probabilities, entropies and rhythm of given texts");
  s->add_option("--model", o->model.path, "Run folder, checkpoint or Hugging Face folder")->required();
  s->add_option("--input", o->input,
                "JSONL rows {\"token_ids\", \"prompt_length\"} or {\"prompt\", \"response\"}")
      ->required();
  s->add_option("--output", o->output, "JSONL file to write")->required();
  s->add_option("--tensors", o->tensors,
                "safetensors file for per-head statistics: row<i>.<name> [layers, heads, N]");
  s->add_option("--layers", o->layers,
                "Layers to calibrate on and to write: all, default, or a list like 3,4,5");
  s->add_option("--head-groups", o->head_groups,
                "Head groups of a file, checkpoint or run; default: calibrated on the input");
  add_chat_options(*s, o->chat);
  s->add_option("--rhythm", o->rhythm, "Override one key of rhythm: key=value; may be repeated")
      ->allow_extra_args(false);
  s->add_option("--dtype", o->model.dtype, "float32 or bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  s->add_option("--device", o->model.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  s->add_option("--threads", o->threads, "0 = all that the process may use")->check(CLI::NonNegativeNumber);
  s->add_option("--micro-batch-tokens", o->micro_batch_tokens,
                "Tokens of one forward pass; memory and speed only")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  s->callback([o, &action] { action = [o] { return run(*o); }; });
}

}  // namespace pan::cli
