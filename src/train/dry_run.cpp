#include "train/dry_run.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "model/lora.h"
#include "model/value_model.h"
#include "rl/rl_config.h"
#include "train/memory_plan.h"
#include "train/process.h"
#include "train/session.h"

namespace pan::train {
namespace {

constexpr double kReadAheadSeconds = 10;

std::string size_text(int64_t bytes) {
  char text[32];
  if (bytes >= int64_t{1} << 30)
    std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (1 << 30));
  else
    std::snprintf(text, sizeof text, "%.0f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

// Of all files in it; 0 where there is no such folder. What goes away meanwhile does not count: the run that
// the folder belongs to may be at work.
int64_t folder_bytes(const std::string& path) {
  namespace fs = std::filesystem;
  int64_t bytes = 0;
  std::error_code none;
  for (fs::recursive_directory_iterator entry(path, none), end; !none && entry != end;
       entry.increment(none)) {
    if (!entry->is_regular_file(none) || entry->is_symlink(none)) continue;
    const uintmax_t size = entry->file_size(none);
    if (!none) bytes += static_cast<int64_t>(size);
    none.clear();
  }
  return bytes;
}

void add_memory(std::vector<std::string>& lines, const MemoryPlan& plan, const Memory& memory) {
  lines.push_back("memory plan:");
  for (const auto& [name, bytes] : plan.resident) lines.push_back("  " + size_text(bytes) + "  " + name);
  for (const auto& [name, bytes] : plan.phases) lines.push_back("  " + size_text(bytes) + "  while " + name);
  lines.push_back("  " + size_text(plan.peak()) + "  peak, of " + size_text(memory.bytes) + " of " +
                  memory.of);
  check_memory(plan, memory);
}

// Names, shapes and values of the weights, which only reading them shows. On the CPU: memory of a GPU may be
// in use.
void check_weights(const config::RunConfig& c) {
  const model::DecoderOptions options{.dtype = compute_type(c.model), .device = at::kCPU};
  const auto policy = model::load_decoder(c.model.path, options);
  if (c.model.lora.enabled()) model::with_adapters(*policy, c.model.lora, 0);
  if (rl::has_separate_critic(c.rl) && !c.rl.critic.path.empty())
    model::load_critic(c.rl.critic.path, options);
}

}  // namespace

void check_memory(const MemoryPlan& plan, const Memory& memory) {
  PAN_CHECK(plan.peak() <= memory.bytes, kDevice, "the run does not fit into memory")
      .where(memory.of)
      .expected("at most " + size_text(memory.bytes))
      .got("a plan of " + size_text(plan.peak()))
      .remedy(
          "Lower ppo.micro_batch_tokens, rollout.slots or rollout.max_new_tokens, use critic.mode shared or "
          "model.dtype bfloat16");
}

std::string check_disk(const DiskPlan& plan, const std::string& run_dir) {
  // A resumed run has some of its checkpoints already, and they make room for their successors.
  const int64_t there = folder_bytes(run_dir + "/checkpoints");
  const int64_t free = static_cast<int64_t>(core::disk().free_bytes(core::nearest_existing(run_dir))) + there;
  const int64_t needed = plan.checkpoint_bytes * plan.num_checkpoints;
  PAN_CHECK(needed <= free, kIo, "the checkpoints do not fit on the disk")
      .where(run_dir)
      .expected(size_text(needed) + " free")
      .got(size_text(free))
      .remedy("Lower checkpoint.keep_last or keep_best, or choose another --run-dir");
  return "disk plan: checkpoints of " + size_text(plan.checkpoint_bytes) + ", at most " +
         std::to_string(plan.num_checkpoints) + " at a time = " + size_text(needed) +
         "; free: " + size_text(free) + (there > 0 ? ", the present ones included" : "");
}

std::vector<std::string> dry_run(const config::RunConfig& config, const std::string& run_dir,
                                 bool config_only) {
  std::vector<std::string> lines = config::batch_arithmetic(config);
  if (config_only) {
    lines.push_back("the configuration is valid (no model or data was opened)");
    return lines;
  }
  auto session = open_session(config, {.load_models = false});
  const model::Arch arch = model::read_arch(config.model.path);
  const int64_t in_all = config.train.iterations * config.train.prompts_per_iteration;
  const int64_t read = session->prompts->check(std::min(in_all, config.train.prompts_per_iteration), in_all,
                                               kReadAheadSeconds);
  const std::vector<Prompt> prompts = session->prompts->next(config.train.prompts_per_iteration);
  int64_t longest = 0;
  for (const Prompt& prompt : prompts)
    longest = std::max(longest, static_cast<int64_t>(prompt.tokens.size()));
  char text[200];
  std::snprintf(text, sizeof text, "model: %.1f M parameters, %lld layers, vocabulary of %lld, %s on %s",
                static_cast<double>(arch.num_parameters()) / 1e6, static_cast<long long>(arch.num_layers),
                static_cast<long long>(arch.vocab_size), config.model.dtype.c_str(),
                session->device.str().c_str());
  lines.push_back(text);
  if (config.model.lora.enabled()) {
    std::snprintf(text, sizeof text, "adapters: rank %lld, %.2f M parameters are trained in each model",
                  static_cast<long long>(config.model.lora.rank),
                  static_cast<double>(model::num_adapter_parameters(arch, config.model.lora)) / 1e6);
    lines.push_back(text);
  }
  lines.push_back("task " + session->task->name() + ": the first iteration's longest prompt has " +
                  std::to_string(longest) + " tokens (limit " +
                  std::to_string(config.train.max_prompt_tokens) + "); " + std::to_string(read) +
                  " prompts were read");
  const ModelSizes sizes = read_sizes(config);
  add_memory(lines, plan_memory(config, sizes), memory_of(session->device));
  core::check_can_write(run_dir, "Choose another --run-dir");
  lines.push_back(check_disk(plan_disk(config, sizes), run_dir));
  check_weights(config);
  lines.push_back("everything is valid");
  return lines;
}

}  // namespace pan::train
