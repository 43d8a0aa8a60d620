#include "train/session.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "kernels/supports.h"
#include "model/lora.h"
#include "rl/rl_config.h"
#include "tasks/registry.h"
#include "train/flops.h"

namespace pan::train {

core::Json LoopState::to_json() const {
  core::Json json = {{"iteration", iteration},
                     {"prompt_position", prompt_position},
                     {"prompts_skipped", prompts_skipped},
                     {"groups_iteration", groups_iteration},
                     {"groups", groups.empty() ? core::Json() : groups.to_json()},
                     {"moments", moments.to_json()},
                     {"guard", guard.to_json()},
                     {"kl", core::parse_json(kl, "the KL coefficient")},
                     {"best_metric", best_metric ? core::Json(*best_metric) : core::Json()},
                     {"best_iteration", best_iteration},
                     {"evals_without_best", evals_without_best},
                     {"last_eval_iteration", last_eval_iteration}};
  return json;
}

LoopState LoopState::from_json(const core::Json& json, const std::string& source) {
  auto integer = [&](const char* key) { return core::get_required<int64_t>(json, key, source); };
  LoopState s;
  s.iteration = integer("/iteration");
  s.prompt_position = integer("/prompt_position");
  s.prompts_skipped = integer("/prompts_skipped");
  s.groups_iteration = integer("/groups_iteration");
  if (!json.at("groups").is_null()) s.groups = rhythm::HeadGroups::from_json(json.at("groups"), source);
  s.moments = rhythm::RhythmMoments::from_json(json.at("moments"), source);
  if (json.contains("guard"))  // not in checkpoints of older versions
    s.guard = GuardState::from_json(json.at("guard"), source);
  s.kl = core::dump_json(json.at("kl"));
  if (!json.at("best_metric").is_null())
    s.best_metric = core::get_required<double>(json, "/best_metric", source);
  s.best_iteration = integer("/best_iteration");
  s.evals_without_best = integer("/evals_without_best");
  s.last_eval_iteration = integer("/last_eval_iteration");
  return s;
}

rl::Models Session::models() const {
  return {.policy = policy.get(),
          .reference = reference.get(),
          .critic = critic.get(),
          .value_head = value_head ? const_cast<model::ValueHead*>(&*value_head) : nullptr};
}

EncodePrompt Session::encoder() const {
  return [chat = chat, tok = tokenizer](const tasks::Problem& problem) {
    return chat->encode_prompt(*tok, problem.prompt);
  };
}

namespace {

void check_vocabulary(const tokenizer::Tokenizer& tokenizer, const model::Arch& arch,
                      const std::string& folder) {
  PAN_CHECK(tokenizer.vocab_size() <= arch.vocab_size, kData,
            "the tokenizer has more tokens than the model has embeddings")
      .where(folder)
      .expected("at most vocab_size = " + std::to_string(arch.vocab_size))
      .got(std::to_string(tokenizer.vocab_size()))
      .remedy("Tokenizer and weights are of different models; take both from one folder");
}

// Critic and policy read the same tokens.
void check_critic(const config::RunConfig& c, const model::Arch& policy) {
  const std::string& folder = c.rl.critic.path;
  if (!rl::has_separate_critic(c.rl) || folder.empty()) return;
  PAN_CHECK(core::is_folder(folder), kData, "there is no such critic folder")
      .where(folder)
      .pointer("/critic/path")
      .expected("a Hugging Face folder: config.json, *.safetensors")
      .got(core::exists(folder) ? "a file" : "nothing of that name")
      .remedy("Set critic.path, or leave it out to start from the policy's weights");
  const model::Arch critic = model::read_arch(folder);
  PAN_CHECK(critic.vocab_size == policy.vocab_size, kData,
            "the critic is of another vocabulary than the policy")
      .where(folder)
      .pointer("/critic/path")
      .expected("vocab_size " + std::to_string(policy.vocab_size) + ", as in " + c.model.path)
      .got(std::to_string(critic.vocab_size))
      .remedy("Take a critic that was made from a model with this tokenizer, or leave critic.path out");
  const int64_t longest = c.longest_sequence();
  PAN_CHECK(longest <= critic.max_positions, kData, "prompt and answer do not fit the critic's context")
      .where(folder)
      .pointer("/critic/path")
      .expected("a context of at least train.max_prompt_tokens + rollout.max_new_tokens = " +
                std::to_string(longest))
      .got(std::to_string(critic.max_positions))
      .remedy("Lower train.max_prompt_tokens or rollout.max_new_tokens, or take another critic");
}

// Data of evaluations is read when the first one begins, which may be hours into the run.
void check_eval_data(const config::RunConfig& c, const tasks::Task& task) {
  if (c.eval.every == 0) return;
  PAN_CHECK(task.size(tasks::Split::kEval) != 0, kData, "the eval split of task " + task.name() + " is empty")
      .pointer("/task")
      .expected("one problem or more, since eval.every = " + std::to_string(c.eval.every))
      .got("0")
      .remedy("Check the task's paths, or set eval.every to 0");
  task.problem(tasks::Split::kEval, 0);
}

// What the kernels would refuse after a whole rollout is refused before the first.
void check_tap(const Session& s, const model::Arch& arch) {
  const config::RunConfig& c = s.config;
  const kernels::Support support =
      kernels::supports({.device = s.device.type(),
                         .type = compute_type(c.model),
                         .head_size = arch.head_dim,
                         .num_heads = arch.num_heads,
                         .num_key_heads = arch.num_kv_heads,
                         .num_tokens = std::max(c.rl.ppo.micro_batch_tokens, c.longest_sequence()),
                         .band_lo = c.rhythm.h_lo,
                         .band_hi = c.rhythm.h_hi});
  PAN_CHECK(support.yes, kConfig, "the attention statistics cannot be computed for this model here")
      .pointer("/rhythm/enabled")
      .where(c.model.path)
      .expected("work that the attention kernels can do")
      .got(support.why_not)
      .remedy("Set rhythm.enabled to false, or model.device to cpu");
}

void load_plain_models(Session& s, const OpenOptions& options, const model::DecoderOptions& decoder_options) {
  const config::RunConfig& c = s.config;
  s.policy = model::load_decoder(options.policy_folder.empty() ? c.model.path : options.policy_folder,
                                 decoder_options);
  if (rl::needs_reference(c.rl)) s.reference = model::load_decoder(c.model.path, decoder_options);
  if (!rl::has_separate_critic(c.rl)) return;
  std::string folder = options.critic_folder;
  if (folder.empty()) folder = c.rl.critic.path.empty() ? c.model.path : c.rl.critic.path;
  model::Critic critic = model::load_critic(folder, decoder_options);
  s.critic = std::move(critic.trunk);
  s.value_head = std::move(critic.head);
}

// Policy, reference and, where it starts from the same folder, critic share one set of frozen weights. What a
// checkpoint holds is copied into the adapters by the caller.
void load_adapted_models(Session& s, const OpenOptions& options,
                         const model::DecoderOptions& decoder_options) {
  const config::RunConfig& c = s.config;
  const auto seed = static_cast<uint64_t>(c.seed);
  model::LoraConfig fresh = c.model.lora;
  fresh.path.clear();
  s.reference = model::load_decoder(c.model.path, decoder_options);
  s.policy = model::with_adapters(*s.reference, options.policy_folder.empty() ? c.model.lora : fresh, seed);
  if (rl::has_separate_critic(c.rl)) {
    if (c.rl.critic.path.empty()) {
      s.critic = model::with_adapters(*s.reference, fresh, seed);
    } else {
      model::Critic critic = model::load_critic(c.rl.critic.path, decoder_options);
      s.critic = model::with_adapters(*critic.trunk, fresh, seed);
      s.value_head = std::move(critic.head);
    }
  }
  if (!rl::needs_reference(c.rl)) s.reference.reset();
}

// Over names and contents of a model folder's weight files, which were read just before.
std::string weights_checksum(const std::string& folder) {
  core::Crc32c crc;
  for (const std::string& name : core::list_folder(folder)) {
    if (!name.ends_with(".safetensors")) continue;
    const std::string line = name + " " + core::crc32c_of_file(folder + "/" + name) + "\n";
    crc.update(line.data(), line.size());
  }
  return crc.hex();
}

void load_models(Session& s, const OpenOptions& options) {
  const config::RunConfig& c = s.config;
  const model::DecoderOptions decoder_options{.dtype = compute_type(c.model),
                                              .device = s.device,
                                              .gradient_checkpointing = c.model.gradient_checkpointing};
  if (c.model.lora.enabled())
    load_adapted_models(s, options, decoder_options);
  else
    load_plain_models(s, options, decoder_options);
  if (rl::needs_critic(c.rl) && !s.value_head)
    s.value_head = model::ValueHead::zeros(s.policy->arch().hidden_size, s.device);
  s.base_checksums["model"] = weights_checksum(c.model.path);
  if (!c.rl.critic.path.empty()) s.base_checksums["critic"] = weights_checksum(c.rl.critic.path);
}

}  // namespace

std::unique_ptr<Session> open_session(const config::RunConfig& config, const OpenOptions& options) {
  auto session = std::make_unique<Session>();
  Session& s = *session;
  s.config = config;
  PAN_CHECK(!config.model.path.empty(), kConfig, "no model is named")
      .pointer("/model/path")
      .expected("a Hugging Face folder")
      .got("\"\"")
      .remedy("Set model.path, e.g. --set model.path=DIR");
  PAN_CHECK(core::is_folder(config.model.path), kData, "there is no such model folder")
      .where(config.model.path)
      .pointer("/model/path")
      .expected("a Hugging Face folder: config.json, *.safetensors, tokenizer.json or tokenizer.model")
      .got(core::exists(config.model.path) ? "a file" : "nothing of that name")
      .remedy("Set model.path, e.g. --set model.path=DIR");
  s.device = prepare_process(config.model, config.threads);
  s.tokenizer = tokenizer::load(config.model.path);
  s.chat = tokenizer::load_chat_template(config.model.path, config.prompt, *s.tokenizer);
  s.stop_tokens = tokenizer::stop_token_ids(config.model.path, *s.tokenizer, *s.chat);
  s.task = tasks::make(config.task, config.reward);
  const model::Arch arch = model::read_arch(config.model.path);
  check_vocabulary(*s.tokenizer, arch, config.model.path);
  if (options.critic_folder.empty()) check_critic(config, arch);
  check_eval_data(config, *s.task);
  PAN_CHECK(config.longest_sequence() <= arch.max_positions, kConfig,
            "prompt and answer do not fit the model's context")
      .pointer("/train/max_prompt_tokens")
      .expected("train.max_prompt_tokens + rollout.max_new_tokens <= " + std::to_string(arch.max_positions))
      .got(std::to_string(config.train.max_prompt_tokens) + " + " +
           std::to_string(config.rollout.max_new_tokens))
      .remedy("Lower train.max_prompt_tokens or rollout.max_new_tokens");
  if (config.rhythm.enabled) {
    s.tap_layers = rhythm::resolve_layers(config.rhythm, model::default_tap_layers(arch), arch.num_layers);
    check_tap(s, arch);
  }
  s.prompts =
      std::make_unique<PromptSource>(*s.task, s.encoder(),
                                     PromptOptions{.seed = static_cast<uint64_t>(config.seed),
                                                   .max_prompt_tokens = config.train.max_prompt_tokens,
                                                   .overlong = config.train.overlong_prompts});
  s.kl = std::make_unique<rl::KlCoefficient>(config.rl.kl);
  s.state.kl = core::dump_json(s.kl->state());
  if (!options.load_models) return session;
  load_models(s, options);
  s.peak_flops = config.train.peak_tflops ? 1e12 * *config.train.peak_tflops
                                          : measured_peak_flops(s.device, compute_type(config.model));
  const int64_t steps_per_iteration =
      config.sequences_per_iteration() / config.rl.ppo.minibatch_size * config.rl.ppo.epochs;
  const int64_t warmup = rl::needs_critic(config.rl) ? config.rl.critic.warmup_iterations : 0;
  const int64_t policy_iterations = std::max<int64_t>(0, config.train.iterations - warmup);
  s.updater = std::make_unique<rl::Updater>(
      s.models(), config.rl,
      rl::UpdateOptions{
          .temperature = config.rollout.temperature,
          .total_steps = policy_iterations * steps_per_iteration,
          .critic_total_steps = config.train.iterations * steps_per_iteration,
          .max_response_tokens = config.rollout.max_new_tokens,
          .max_bad_steps = config.train.max_bad_steps,
          .progress = [&s](int64_t done,
                           int64_t total) { return !s.update_progress || s.update_progress(done, total); },
          .should_stop = [&s](double share) { return s.update_should_stop && s.update_should_stop(share); }});
  return session;
}

}  // namespace pan::train
