#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/chat_options.h"
#include "cli/commands.h"
#include "cli/open_model.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/signals.h"
#include "rollout/bench.h"
#include "rollout/generate.h"
#include "tasks/jsonl_rows.h"

namespace pan::cli {
namespace {

struct Options {
  train::ModelConfig model;
  ChatOptions chat;
  rollout::SamplingConfig sampling;
  std::string prompt, input;
  bool json = false, ignore_stop = false;
  int64_t samples = 1, seed = 0, threads = 0, repetitions = 1;
};

std::vector<std::string> prompts_of(const Options& o) {
  if (o.input.empty()) return {o.prompt};
  std::vector<std::string> prompts;
  tasks::read_jsonl(o.input, "It has rows {\"prompt\": TEXT}", [&](const core::Json& row, int64_t line) {
    prompts.push_back(tasks::text_of(row, "prompt", o.input, line));
  });
  return prompts;
}

void stream(const OpenModel& m, const rollout::Generator& generator_const,
            const std::vector<rollout::Request>& requests) {
  rollout::Generator generator = generator_const;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests.size() > 1) std::printf("%s--- %zu ---\n", i ? "\n" : "", i + 1);
    tokenizer::StreamDecoder decoder(*m.tokenizer);
    rollout::RunHooks hooks;
    hooks.should_stop = [] { return core::stop_requested(); };
    hooks.on_token = [&](size_t, int64_t token) {
      if (m.tokenizer->is_special(token)) return;
      const std::string text = decoder.push(token);
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    };
    const rollout::Sample sample = generator.run({requests[i]}, hooks)[0];
    const std::string rest = decoder.flush();
    std::fwrite(rest.data(), 1, rest.size(), stdout);
    std::printf("\n");
    if (sample.finish == rollout::FinishReason::kLength)
      core::log_info("(cut off after " + std::to_string(sample.response.size()) + " tokens)");
  }
}

int run(const Options& o) {
  PAN_CHECK(o.prompt.empty() != o.input.empty(), kUsage, "there must be one prompt or one file of prompts")
      .where("pan-ppo generate")
      .expected("--prompt TEXT or --input FILE")
      .got(o.input.empty() ? "neither" : "both")
      .remedy("Give one of them");
  core::install_stop_signals();
  const OpenModel m = open_model(o.model, o.chat.prompt(), o.threads);
  rollout::GeneratorOptions options{.seed = static_cast<uint64_t>(o.seed), .sampling = o.sampling};
  if (!o.ignore_stop) options.stop_tokens = m.stop_tokens;
  std::vector<rollout::Request> requests;
  for (const std::string& prompt : prompts_of(o))
    for (int64_t i = 0; i < o.samples; ++i)
      requests.push_back(
          {.sample_id = static_cast<int64_t>(requests.size()), .prompt = encode_prompt(m, prompt)});
  const rollout::Generator generator(*m.decoder, *m.tokenizer, options);
  if (!o.json) {
    stream(m, generator, requests);
    return 0;
  }
  const rollout::BenchResult result =
      rollout::bench_generate(*m.decoder, *m.tokenizer, options, requests, o.repetitions);
  core::Json json = rollout::to_json(result);
  json["texts"] = core::Json::array();
  for (const rollout::Sample& sample : result.samples) json["texts"].push_back(sample.text);
  std::printf("%s\n", core::dump_json(json).c_str());
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  o->sampling.temperature = 0;
  CLI::App* g = app.add_subcommand("generate", "Continue a prompt, streaming to the terminal");
  g->add_option("--model", o->model.path, "Run folder, checkpoint or Hugging Face folder")->required();
  g->add_option("--prompt", o->prompt, "Text to continue, or the user's turn with --chat");
  g->add_option("--input", o->input, "JSONL file of {\"prompt\"} rows instead");
  add_chat_options(*g, o->chat);
  g->add_option("--samples", o->samples, "Answers per prompt (needs --temperature above 0 to differ)")
      ->check(CLI::PositiveNumber);
  g->add_option("--temperature", o->sampling.temperature, "0 = greedy")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  g->add_option("--top-k", o->sampling.top_k, "0 = off")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  g->add_option("--top-p", o->sampling.top_p, "1 = off")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  g->add_option("--max-new-tokens", o->sampling.max_new_tokens, "Longest answer, token")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  g->add_option("--seed", o->seed, "Of the random numbers")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  g->add_option("--dtype", o->model.dtype, "float32 or bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  g->add_option("--device", o->model.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  g->add_option("--threads", o->threads, "0 = all that the process may use")->check(CLI::NonNegativeNumber);
  g->add_flag("--json", o->json, "All prompts as one batch; prints figures of speed and the texts as JSON");
  g->add_flag("--ignore-stop", o->ignore_stop, "Go on past the end of text (benchmarks)");
  g->add_option("--repetitions", o->repetitions, "With --json: timed repetitions")
      ->check(CLI::PositiveNumber);
  g->callback([o, &action] { action = [o] { return run(*o); }; });
}

}  // namespace pan::cli
