#include "train/tiny_run.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/load.h"
#include "model/decoder.h"
#include "pan/tokenizer.h"
#include "support/support.h"
#include "support/tiny_decoder.h"

namespace pan::testing {

void make_tiny_model(const std::string& folder, uint64_t seed, int64_t num_layers) {
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(source_path("data/quickstart/tokenizer.model"), folder + "/tokenizer.model");
  const auto tokenizer = tokenizer::load(folder);
  model::Arch arch = tiny_arch(tokenizer->vocab_size(), 512);
  arch.intermediate_size = 64;
  arch.num_layers = num_layers;
  arch.rms_norm_eps = 1e-5;
  arch.eos_token_ids = {tokenizer->eos_id()};
  arch.bos_token_id = tokenizer->bos_id();
  model::save_decoder(folder, *model::make_decoder(arch, {}, seed), at::kFloat);
}

config::RunConfig tiny_config(const std::string& model_folder, const std::vector<std::string>& overrides) {
  core::Json json = {
      {"seed", 3},
      {"threads", 1},
      {"model", {{"path", model_folder}, {"device", "cpu"}}},
      {"prompt", {{"template", "plain"}, {"add_special", false}}},
      {"task",
       {{"name", "logic_grid"},
        {"sizes", {"2x2"}},
        {"prompt_style", "compact"},
        {"answer_style", "lines"},
        {"format_weight", 0.2}}},
      {"train",
       {{"iterations", 4},
        {"prompts_per_iteration", 4},
        {"samples_per_prompt", 2},
        {"max_prompt_tokens", 200},
        {"show_sample_every", 0}}},
      {"rollout", {{"max_new_tokens", 48}, {"slots", 8}}},
      {"ppo", {{"minibatch_size", 4}, {"micro_batch_tokens", 256}}},
      {"kl", {{"controller", "adaptive"}, {"coefficient", 0.05}, {"horizon", 100}}},
      {"critic", {{"warmup_iterations", 1}}},
      {"optimizer", {{"lr", 1e-3}}},
      {"critic_optimizer", {{"lr", 1e-3}}},
      {"rhythm",
       {{"refresh_every", 2},
        {"calibration_sequences", 4},
        {"min_content_tokens", 2},
        {"z", {{"min_steps", 2}}}}},
      {"eval", {{"every", 2}, {"num_problems", 3}, {"slots", 4}, {"max_new_tokens", 8}}},
      {"checkpoint", {{"every", 1}, {"keep_last", 3}, {"keep_best", 1}}},
  };
  return config::load_run_json(json, "the test", overrides).config;
}

std::string comparable_metrics(const std::string& run_dir, const std::vector<std::string>& without) {
  std::istringstream lines(read_text(run_dir + "/metrics.jsonl"));
  std::string out, line;
  while (std::getline(lines, line)) {
    core::Json row = core::Json::parse(line);
    core::Json kept = core::Json::object();
    for (const auto& [key, value] : row.items()) {
      bool drop = key.rfind("timing", 0) == 0 || key.rfind("perf/", 0) == 0;
      for (const std::string& prefix : without) drop = drop || key.rfind(prefix, 0) == 0;
      if (!drop) kept[key] = value;
    }
    out += kept.dump() + "\n";
  }
  return out;
}

}  // namespace pan::testing
