#include "train/snapshot.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoint/reader.h"
#include "checkpoint/retention.h"
#include "checkpoint/writer.h"
#include "config/load.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "kernels/isa.h"
#include "model/arch.h"
#include "model/lora.h"
#include "model/safetensors.h"
#include "train/tokenizer_files.h"

namespace pan::train {
namespace {

constexpr int64_t kLoopVersion = 1, kLogsVersion = 1, kConfigVersion = 1, kOptimizerVersion = 1,
                  kBaseVersion = 1, kMachineVersion = 1;
constexpr char kValueHead[] = "value_head.safetensors";
constexpr char kPolicyAdapter[] = "policy_adapter", kCriticAdapter[] = "critic_adapter";

bool adapted(const Session& s) { return s.config.model.lora.enabled(); }

const std::string& critic_base(const config::RunConfig& c) {
  return c.rl.critic.path.empty() ? c.model.path : c.rl.critic.path;
}

at::ScalarType export_type(const Session& s) {
  if (s.config.model.export_dtype == "float32") return at::kFloat;
  if (s.config.model.export_dtype == "bfloat16") return at::kBFloat16;
  return compute_type(s.config.model);
}

void write_tensors(checkpoint::CheckpointWriter& w, const std::string& name,
                   const model::NamedTensors& tensors) {
  w.expect_checksum(name, model::write_safetensors(w.folder() + "/" + name, tensors));
}

// Float32 values that the exported folder would round: exact weights of a float32 run exported as bfloat16.
bool needs_exact_copy(const Session& s) {
  return compute_type(s.config.model) == at::kFloat && export_type(s) != at::kFloat;
}

void write_optimizer(checkpoint::CheckpointWriter& w, const std::string& name, rl::Optimizer& optimizer) {
  write_tensors(w, name + ".safetensors", optimizer.state_tensors());
  w.add_section(name, kOptimizerVersion, optimizer.state());
}

void read_optimizer(const checkpoint::Checkpoint& c, const std::string& name, rl::Optimizer& optimizer) {
  optimizer.load(c.section(name, kOptimizerVersion), model::read_safetensors(c.file(name + ".safetensors")));
}

void copy_into(const model::NamedTensors& targets, const std::string& path) {
  const at::NoGradGuard no_grad;
  const model::SafetensorsFile file(path);
  for (auto [name, tensor] : targets) file.load_into(name, tensor, true);
}

// True: there are changes, and they are allowed.
bool check_same_run(const checkpoint::Checkpoint& c, const config::RunConfig& before,
                    const config::RunConfig& config, bool allow_change) {
  const std::vector<std::string> changes = config::differences(before, config);
  if (changes.empty()) return false;
  std::string text;
  for (const std::string& change : changes) text += (text.empty() ? "" : "; ") + change;
  PAN_CHECK(allow_change, kConfig, "the configuration computes something else than the run did so far")
      .where(c.folder())
      .expected("the settings that it was written with")
      .got(text)
      .remedy("Add --allow-change to go on with the new settings, or train a new run");
  core::log_warn("going on with changed settings: " + text);
  return true;
}

// The weights at model.path are the reference model, and with adapters what these are added to; those of
// critic.path matter beneath adapters only. True: others are there, and that is allowed.
bool check_same_base(const checkpoint::Checkpoint& c, const Session& s, bool allow_change) {
  if (!c.has_section("base")) return false;  // of an older version
  const core::Json saved = c.section("base", kBaseVersion);
  bool changed = false;
  for (const auto& [name, checksum] : s.base_checksums) {
    const bool matters = adapted(s) || (name == "model" && s.reference != nullptr);
    if (!matters || !saved.contains(name) || saved[name] == checksum) continue;
    const std::string& folder = name == "model" ? s.config.model.path : s.config.rl.critic.path;
    PAN_CHECK(allow_change, kData, "the weights are not those that the run was started with")
        .where(folder)
        .expected("weights with crc32c " + core::dump_json(saved[name]) + ", as in " + c.folder())
        .got(checksum)
        .remedy("Put the model back, or add --allow-change to go on with another " +
                std::string(adapted(s) ? "base under the adapters" : "reference model"));
    core::log_warn("going on with other weights in " + folder);
    changed = true;
  }
  return changed;
}

core::Json this_machine(const Session& s, const std::string& program) {
  return {{"program", program},
          {"device", c10::DeviceTypeName(s.device.type(), true)},
          {"threads", at::get_num_threads()},
          {"instruction_set", kernels::active_isa_set().name()}};
}

void warn_of_another_machine(const checkpoint::Checkpoint& c, const Session& s, const std::string& program) {
  if (!c.has_section("machine")) return;
  const core::Json saved = c.section("machine", kMachineVersion), here = this_machine(s, program);
  std::string text;
  for (const auto& [key, value] : here.items())
    if (saved.contains(key) && saved[key] != value)
      text += (text.empty() ? "" : "; ") + key + ": " + core::dump_json(saved[key]) + " -> " +
              core::dump_json(value);
  if (!text.empty())
    core::log_warn("the run goes on elsewhere, so not bit for bit as it would have there: " + text);
}

// What was best by another measure says nothing.
void forget_best_of_another_metric(LoopState& state, const checkpoint::CheckpointConfig& before,
                                   const checkpoint::CheckpointConfig& now) {
  if (before.metric == now.metric && before.better == now.better) return;
  core::log_info("checkpoint.metric or checkpoint.better has changed: the best so far is forgotten");
  state.best_metric.reset();
  state.best_iteration = -1;
  state.evals_without_best = 0;
}

// The model folder that the configuration names also gives reference, tokenizer and layers to tap.
void check_same_model(const std::string& checkpoint, const std::string& model_folder) {
  const model::Arch saved = model::read_arch(checkpoint), named = model::read_arch(model_folder);
  auto text = [](const model::Arch& a) {
    static const char* const kFamilies[] = {"llama", "qwen2", "qwen3"};
    auto n = [](int64_t x) { return std::to_string(x); };
    return std::string(kFamilies[static_cast<int>(a.family)]) + " with " + n(a.num_layers) +
           " layers, hidden size " + n(a.hidden_size) + ", intermediate size " + n(a.intermediate_size) +
           ", " + n(a.num_heads) + " heads (" + n(a.num_kv_heads) + " for keys) of size " + n(a.head_dim) +
           ", vocabulary " + n(a.vocab_size) + (a.tied_embeddings ? ", tied" : "");
  };
  PAN_CHECK(text(saved) == text(named), kData, "the checkpoint is of another model than the run")
      .where(checkpoint)
      .expected(text(named) + ", as in " + model_folder)
      .got(text(saved))
      .remedy(
          "Put the model back that the run was started with (model.path), or take a checkpoint of this run");
}

}  // namespace

void save_snapshot(Session& s, const RunDir& dir, const LogLengths& lengths, const SnapshotOptions& options) {
  const at::NoGradGuard no_grad;
  checkpoint::CheckpointWriter w(dir.checkpoints(), s.state.iteration);
  const std::string policy = w.make_folder("policy");
  const model::NamedTensors masters = s.updater->policy_optimizer().masters();
  model::save_decoder(policy, *s.policy, export_type(s), masters);
  copy_tokenizer_files(s.config.model.path, policy);
  if (adapted(s))
    model::save_adapter(w.make_folder(kPolicyAdapter), *s.policy, s.config.model.path, masters);
  else if (needs_exact_copy(s))
    write_tensors(w, "policy_float32.safetensors", s.policy->parameters());
  write_optimizer(w, "policy_optimizer", s.updater->policy_optimizer());
  if (s.critic) {
    const std::string critic = w.make_folder("critic");
    const model::NamedTensors critic_masters = s.updater->critic_optimizer()->masters();
    model::save_critic(critic, *s.critic, *s.value_head, export_type(s), critic_masters);
    if (adapted(s))
      model::save_adapter(w.make_folder(kCriticAdapter), *s.critic, critic_base(s.config), critic_masters,
                          s.value_head->parameters());
    else if (needs_exact_copy(s))
      write_tensors(w, "critic_float32.safetensors", s.critic->parameters());
    write_optimizer(w, "critic_optimizer", *s.updater->critic_optimizer());
  }
  if (s.value_head) write_tensors(w, kValueHead, s.value_head->parameters());
  if (s.value_head && !s.critic)
    write_optimizer(w, "critic_optimizer", *s.updater->critic_optimizer());  // shared trunk
  w.add_section("loop", kLoopVersion, s.state.to_json());
  w.add_section("logs", kLogsVersion, lengths.to_json());
  w.add_section("config", kConfigVersion, config::resolved(s.config));
  w.add_section("base", kBaseVersion, s.base_checksums);
  w.add_section("machine", kMachineVersion, this_machine(s, options.program));
  if (options.metric) w.set_metrics({{s.config.checkpoint.metric, *options.metric}});
  checkpoint::CheckpointConfig keep = s.config.checkpoint;
  if (!options.remove_old) keep.keep_last = std::numeric_limits<int64_t>::max();
  w.publish(keep);
}

Resumed resume_session(const RunDir& dir, const config::RunConfig& config, const ResumeOptions& options) {
  Resumed resumed;
  checkpoint::remove_leftovers(core::disk(), dir.checkpoints());
  const std::optional<checkpoint::Checkpoint> found = checkpoint::find_to_resume(dir.checkpoints());
  if (!found) {
    core::log_info("no complete checkpoint in " + dir.checkpoints() + ": the run starts at its beginning");
    resumed.session = open_session(config);
    resumed.log_lengths.text = 0;
    return resumed;
  }
  const checkpoint::Checkpoint& c = *found;
  const config::RunConfig before =
      config::load_run_json(c.section("config", kConfigVersion), c.folder(), {}).config;
  resumed.changed = check_same_run(c, before, config, options.allow_change);
  check_same_model(c.file("policy"), config.model.path);
  resumed.session = open_session(config, {.policy_folder = c.file("policy"),
                                          .critic_folder = c.has_folder("critic") ? c.file("critic") : ""});
  Session& s = *resumed.session;
  resumed.changed |= check_same_base(c, s, options.allow_change);
  warn_of_another_machine(c, s, options.program);
  if (adapted(s)) model::load_adapter(c.file(kPolicyAdapter), *s.policy);
  if (adapted(s) && s.critic) model::load_adapter(c.file(kCriticAdapter), *s.critic);
  if (c.has_file("policy_float32.safetensors"))
    copy_into(s.policy->parameters(), c.file("policy_float32.safetensors"));
  if (c.has_file("critic_float32.safetensors") && s.critic)
    copy_into(s.critic->parameters(), c.file("critic_float32.safetensors"));
  if (s.value_head && c.has_file(kValueHead)) copy_into(s.value_head->parameters(), c.file(kValueHead));
  read_optimizer(c, "policy_optimizer", s.updater->policy_optimizer());
  if (s.value_head) read_optimizer(c, "critic_optimizer", *s.updater->critic_optimizer());
  s.state = LoopState::from_json(c.section("loop", kLoopVersion), c.folder());
  forget_best_of_another_metric(s.state, before.checkpoint, config.checkpoint);
  if (const auto metric = c.metrics().find(config.checkpoint.metric); metric != c.metrics().end())
    resumed.metric = metric->second;
  s.kl->load(core::parse_json(s.state.kl, c.folder()));
  s.prompts->set_position(s.state.prompt_position);
  s.prompts->set_num_skipped(s.state.prompts_skipped);
  resumed.log_lengths = LogLengths::from_json(c.section("logs", kLogsVersion), c.folder());
  resumed.found = true;
  core::log_info("going on after iteration " + std::to_string(s.state.iteration) + " from " + c.folder());
  return resumed;
}

}  // namespace pan::train
