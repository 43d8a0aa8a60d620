#include "sft/sft_trainer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/reader.h"
#include "checkpoint/retention.h"
#include "checkpoint/writer.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/log_file.h"
#include "core/signals.h"
#include "core/stopwatch.h"
#include "eval/evaluate.h"
#include "kernels/logprob_entropy.h"
#include "metrics/console.h"
#include "metrics/jsonl.h"
#include "model/decoder.h"
#include "model/lora.h"
#include "model/safetensors.h"
#include "rl/optimizer.h"
#include "rl/plan.h"
#include "tasks/registry.h"
#include "tokenizer/chat_template.h"
#include "train/logs.h"
#include "train/process.h"
#include "train/prompts.h"
#include "train/run_dir.h"
#include "train/tokenizer_files.h"

namespace pan::sft {
namespace {

constexpr int64_t kVersion = 1;
constexpr int64_t kUsualTokens = 1024;  // of the longest pair
constexpr char kAdapter[] = "policy_adapter";
// Pairs are read ahead for about this long, so that one that cannot be used is found at the start.
constexpr double kReadAheadSeconds = 1;

model::Arch new_arch(const SftConfig& c, const tokenizer::Tokenizer& tokenizer) {
  model::Arch a;
  a.family = c.init.family == "qwen3"   ? model::Family::kQwen3
             : c.init.family == "qwen2" ? model::Family::kQwen2
                                        : model::Family::kLlama;
  a.vocab_size = tokenizer.vocab_size();
  a.hidden_size = c.init.hidden_size;
  a.intermediate_size = c.init.intermediate_size;
  a.num_layers = c.init.num_layers;
  a.num_heads = c.init.num_heads;
  a.num_kv_heads = c.init.num_kv_heads;
  a.head_dim = c.init.hidden_size / c.init.num_heads;
  a.max_positions = c.init.max_positions;
  a.rms_norm_eps = 1e-5;
  a.tied_embeddings = true;
  a.qkv_bias = a.family == model::Family::kQwen2;
  a.qk_norm = a.family == model::Family::kQwen3;
  a.rope.theta = c.init.rope_theta;
  a.eos_token_ids = {tokenizer.eos_id()};
  a.bos_token_id = tokenizer.bos_id();
  return a;
}

class SftTrainer {
 public:
  // A new run's folder is made last: whatever is wrong with model, tokenizer and data leaves no trace.
  explicit SftTrainer(const SftRequest& request)
      : config_(request.config), allow_change_(request.allow_change) {
    if (request.resume)
      use(train::RunDir::open(request.run_dir));
    else
      train::RunDir::check_free(request.run_dir);
    open();
    const int64_t left = (config_.sft.steps - step_) * config_.sft.batch_size;
    prompts_->check(std::min(left, config_.sft.batch_size), left, kReadAheadSeconds);
    if (!dir_)
      use(train::RunDir::create(request.run_dir, resolved(config_), train::RunKind::kSft));
    else if (core::read_json_file(dir_->config_path()) != resolved(config_))
      dir_->write_config(resolved(config_));
    if (request.resume) train::cut_text_log(dir_->log_path(), text_bytes_, text_bytes_before_);
  }

  SftOutcome run() {
    try {
      return loop();
    } catch (core::Error& error) {
      dir_->advise_on_disk(error, "step", saved_);
      throw;
    }
  }

 private:
  SftOutcome loop() {
    metrics::cut_file(core::disk(), dir_->metrics_path(), log_bytes_);
    log_ = std::make_unique<metrics::JsonlWriter>(core::disk(), dir_->metrics_path());
    core::check_log_file();
    if (changed_) save();
    SftOutcome outcome;
    if (eval_due()) {
      evaluate();
      // A stop signal had this step saved before its evaluation: its metric decides what is kept.
      if (saved_ == step_ && !eval_due()) save();
    }
    const double begin = core::now_s();
    const int64_t first = step_;
    while (step_ < config_.sft.steps) {
      if (core::stop_requested()) {
        outcome.stopped = true;
        break;
      }
      if (!train_step(outcome.final_loss)) {
        outcome.stopped = true;
        break;
      }
      ++step_;
      stop_after_bad_steps();
      core::check_log_file();
      if (step_ % config_.sft.log_every == 0 || step_ == config_.sft.steps)
        report(outcome.final_loss, begin, first);
      if (eval_due()) evaluate();
      if (config_.checkpoint.every > 0 && step_ % config_.checkpoint.every == 0) save();
    }
    if (saved_ != step_) save();
    outcome.stopped = outcome.stopped || eval_due();
    outcome.steps = step_;
    core::check_log_file();
    return outcome;
  }

  void use(train::RunDir dir) {
    dir_ = std::move(dir);
    if (std::filesystem::is_regular_file(dir_->log_path()))
      text_bytes_before_ = core::file_size(dir_->log_path());
    core::set_log_file(dir_->log_path());
    core::log_info("run folder " + dir_->path());
  }

  void open() {
    const at::Device device = train::prepare_process(config_.model, config_.threads);
    tokenizer_ = tokenizer::load(config_.model.path);
    chat_ = tokenizer::load_chat_template(config_.model.path, config_.prompt, *tokenizer_);
    task_ = tasks::make(config_.task);
    const model::DecoderOptions options{.dtype = train::compute_type(config_.model),
                                        .device = device,
                                        .gradient_checkpointing = config_.model.gradient_checkpointing};
    std::optional<checkpoint::Checkpoint> found;
    if (dir_) checkpoint::remove_leftovers(core::disk(), dir_->checkpoints());
    if (dir_) found = checkpoint::find_to_resume(dir_->checkpoints());
    if (found) check_same_run(*found);
    const model::LoraConfig& lora = config_.model.lora;
    if (lora.enabled())
      decoder_ = model::with_adapters(*model::load_decoder(config_.model.path, options), lora,
                                      static_cast<uint64_t>(config_.seed));
    else if (found)
      decoder_ = model::load_decoder(found->file("policy"), options);
    else if (config_.init.hidden_size > 0)
      decoder_ =
          model::make_decoder(new_arch(config_, *tokenizer_), options, static_cast<uint64_t>(config_.seed));
    else
      decoder_ = model::load_decoder(config_.model.path, options);
    PAN_CHECK(config_.sft.max_tokens <= decoder_->arch().max_positions, kConfig,
              "pairs may be longer than the model's context")
        .pointer("/sft/max_tokens")
        .expected("at most " + std::to_string(decoder_->arch().max_positions) +
                  (config_.init.hidden_size > 0 ? " (init.max_positions)"
                                                : ", the max_position_embeddings of " + config_.model.path))
        .got(std::to_string(config_.sft.max_tokens))
        .remedy("Lower sft.max_tokens, or take a model with a longer context");
    end_of_turn_ = chat_->end_of_turn_id(*tokenizer_);
    if (end_of_turn_ < 0) end_of_turn_ = tokenizer_->eos_id();
    PAN_CHECK(end_of_turn_ >= 0, kData, "the tokenizer has no end-of-text token")
        .where(config_.model.path)
        .expected("an end-of-text or end-of-turn token")
        .got("none")
        .remedy("Set prompt.end_of_turn");
    optimizer_ =
        std::make_unique<rl::Optimizer>(decoder_->parameters(), config_.optimizer, config_.sft.steps);
    prompts_ = std::make_unique<train::PromptSource>(
        *task_, [this](const tasks::Problem& p) { return pair_of(p); },
        train::PromptOptions{.seed = static_cast<uint64_t>(config_.seed),
                             .max_prompt_tokens = longest_pair(),
                             .overlong = config_.sft.overlong});
    if (found) restore(*found);
  }

  int64_t longest_pair() const {
    return config_.sft.max_tokens > 0 ? config_.sft.max_tokens
                                      : std::min(kUsualTokens, decoder_->arch().max_positions);
  }

  // Prompt and answer as one sequence; where the answer begins is kept in prompt_length_of_.
  std::vector<int64_t> pair_of(const tasks::Problem& p) {
    PAN_CHECK(!p.answer.empty(), kData, "the problem has no worked answer to train on")
        .where(p.id)
        .expected("an answer text")
        .got("none")
        .remedy("Take a task or a file with worked answers (task.worked_field of jsonl)");
    std::vector<int64_t> ids = chat_->encode_prompt(*tokenizer_, p.prompt);
    prompt_length_ = static_cast<int64_t>(ids.size());
    const std::vector<int64_t> answer = tokenizer_->encode(p.answer, {.allow_special = false});
    ids.insert(ids.end(), answer.begin(), answer.end());
    ids.push_back(end_of_turn_);
    return ids;
  }

  std::vector<rl::TrainSequence> next_batch() {
    std::vector<rl::TrainSequence> batch;
    while (static_cast<int64_t>(batch.size()) < config_.sft.batch_size) {
      train::Prompt pair = std::move(prompts_->next(1)[0]);
      batch.push_back({.id = static_cast<int64_t>(batch.size()),
                       .tokens = std::move(pair.tokens),
                       .prompt_length = prompt_length_});
    }
    return batch;
  }

  // `loss_of_step`: mean of the step in nat per answer token. False: a stop signal came, and the step is as
  // if it had not begun (for large models one step may take minutes).
  bool train_step(double& loss_of_step) {
    const int64_t position = prompts_->position(), skipped = prompts_->num_skipped();
    const std::vector<rl::TrainSequence> batch = next_batch();
    int64_t total = 0;
    std::vector<int64_t> order(batch.size());
    for (size_t i = 0; i < batch.size(); ++i) {
      total += batch[i].response_length();
      order[i] = static_cast<int64_t>(i);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return batch[a].tokens.size() < batch[b].tokens.size(); });
    at::Tensor loss_sum = at::zeros({}, at::kDouble).to(decoder_->options().device);
    for (const rl::MicroBatch& micro : rl::cut_micro_batches(batch, order, config_.sft.micro_batch_tokens)) {
      if (core::stop_requested()) {
        optimizer_->zero();
        prompts_->set_position(position);
        prompts_->set_num_skipped(skipped);
        return false;
      }
      const at::Tensor loss = micro_loss(batch, micro) / static_cast<double>(total);
      loss_sum += loss.detach();
      loss.backward();
      optimizer_->accumulate();
    }
    const auto sum = loss_sum.item<double>();
    num_tokens_ += total;
    const bool finite = std::isfinite(sum);
    if (finite)
      last_ = optimizer_->step();
    else
      optimizer_->skip();
    first_bad_ = finite ? last_.first_bad : "loss";
    loss_of_step = sum;
    return true;
  }

  // Bad steps are skipped, so the weights are those of the last good one: kept in a checkpoint, for which no
  // older one goes, since they may be spoilt already.
  void stop_after_bad_steps() {
    if (optimizer_->skipped_in_a_row() < config_.sft.max_bad_steps) return;
    const std::string older =
        saved_ >= 0 ? "the checkpoint of step " + std::to_string(saved_) : std::string("its start");
    const std::string go_on = "pan-ppo resume " + dir_->path() + " --allow-change --set optimizer.lr=...";
    std::string kept = "The weights are not finite, so they are not kept: the run goes on from " + older +
                       ", with: " + go_on;
    if (weights_are_finite()) {
      save(false);
      kept = "The checkpoint of step " + std::to_string(saved_) +
             " holds the weights as they are; go on with: " + go_on +
             ". If they are spoilt already, remove it, and the run goes on from " + older;
    }
    throw core::Error(core::ErrorKind::kGuard, std::to_string(config_.sft.max_bad_steps) +
                                                   " steps in a row had a non-finite loss or gradient")
        .where("step " + std::to_string(step_))
        .pointer(first_bad_)
        .expected("finite numbers")
        .got("infinity or NaN")
        .remedy("Lower optimizer.lr or optimizer.grad_clip. " + kept);
  }

  bool weights_are_finite() const {
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor] : decoder_->parameters())
      if (!at::isfinite(tensor).all().item<bool>()) return false;
    return true;
  }

  at::Tensor micro_loss(const std::vector<rl::TrainSequence>& batch, const rl::MicroBatch& micro) {
    std::vector<std::vector<int64_t>> sequences;
    std::vector<int64_t> rows, targets;
    int64_t offset = 0;
    for (int64_t i : micro) {
      const rl::TrainSequence& s = batch[static_cast<size_t>(i)];
      sequences.push_back(s.tokens);
      for (int64_t t = s.prompt_length; t < static_cast<int64_t>(s.tokens.size()); ++t) {
        rows.push_back(offset + t - 1);
        targets.push_back(s.tokens[static_cast<size_t>(t)]);
      }
      offset += static_cast<int64_t>(s.tokens.size());
    }
    const at::Device device = decoder_->options().device;
    const at::Tensor hidden = decoder_->hidden(model::pack(sequences, device));
    const at::Tensor picked = hidden.index_select(0, at::tensor(rows, at::kLong).to(device));
    const auto out =
        kernels::logprob_entropy(picked, decoder_->output_weight(), at::tensor(targets, at::kLong).to(device),
                                 {.targets_in_range = true});
    return -out.logprob.sum();
  }

  void report(double loss, double begin, int64_t first) {
    const double per_step = (core::now_s() - begin) / static_cast<double>(step_ - first);
    log_->write({{"event", "step"},
                 {"step", step_},
                 {"sft/loss", loss},
                 {"sft/lr", last_.lr},
                 {"sft/grad_norm", last_.grad_norm},
                 {"sft/tokens", num_tokens_},
                 {"sft/skipped_pairs", prompts_->num_skipped()},
                 {"timing_s/step", per_step}});
    char text[160];
    std::snprintf(text, sizeof text,
                  "step %lld/%lld | loss %.4f | gradient %.3g | lr %.3g | %.3g s a step | ",
                  static_cast<long long>(step_), static_cast<long long>(config_.sft.steps), loss,
                  last_.grad_norm, last_.lr, per_step);
    core::log_info(text + metrics::duration_text(per_step * static_cast<double>(config_.sft.steps - step_)) +
                   " left");
  }

  eval::Evaluation measure() {
    return eval::evaluate(
        {.decoder = *decoder_,
         .tokenizer = *tokenizer_,
         .task = *task_,
         .encode = [this](const tasks::Problem& p) { return chat_->encode_prompt(*tokenizer_, p.prompt); },
         .stop_tokens = {end_of_turn_},
         .config = config_.eval,
         .default_max_new_tokens = config_.eval_max_new_tokens,
         .seed = static_cast<uint64_t>(config_.seed),
         .description = core::dump_json({{"run", dir_->path()}, {"step", step_}}),
         .should_stop = [] { return core::stop_requested(); }});
  }

  // Also after a resume, where a stop kept the evaluation of the last step from being done.
  bool eval_due() const {
    const eval::EvalConfig& c = config_.eval;
    if (c.every == 0 || last_eval_step_ >= step_) return false;
    if (step_ == 0) return c.at_start;
    return step_ % c.every == 0 || step_ == config_.sft.steps;
  }

  void evaluate() {
    const at::NoGradGuard no_grad;
    eval::Evaluation e;
    try {
      e = measure();
    } catch (const core::Error& error) {
      if (error.kind() != core::ErrorKind::kInterrupted) throw;
      core::log_info("stopped while evaluating; the evaluation is done again after a resume");
      return;
    }
    eval::write_evaluation(dir_->eval_folder(step_), e);
    for (const std::string& line : eval::evaluation_lines(e)) core::log_info(line);
    core::Json event = {{"event", "evaluation"}, {"step", step_}};
    for (const auto& [key, value] : e.metrics) event["eval/" + key] = value;
    log_->write(event);
    metric_ = e.metrics;
    metric_step_ = last_eval_step_ = step_;
  }

  void save(bool remove_old = true) {
    const at::NoGradGuard no_grad;
    checkpoint::CheckpointWriter w(dir_->checkpoints(), step_);
    const std::string policy = w.make_folder("policy");
    const bool bf16 = config_.model.export_dtype == "bfloat16" ||
                      (config_.model.export_dtype == "auto" && config_.model.dtype == "bfloat16");
    model::save_decoder(policy, *decoder_, bf16 ? at::kBFloat16 : at::kFloat, optimizer_->masters());
    train::copy_tokenizer_files(config_.model.path, policy);
    if (config_.model.lora.enabled())
      model::save_adapter(w.make_folder(kAdapter), *decoder_, config_.model.path, optimizer_->masters());
    model::NamedTensors tensors = optimizer_->state_tensors();
    if (!config_.model.lora.enabled() && bf16 && config_.model.dtype == "float32")
      for (const auto& [name, value] : decoder_->parameters()) tensors.emplace_back("exact." + name, value);
    w.expect_checksum("optimizer.safetensors",
                      model::write_safetensors(w.folder() + "/optimizer.safetensors", tensors));
    w.add_section("optimizer", kVersion, optimizer_->state());
    log_->sync();
    w.add_section("sft", kVersion,
                  {{"step", step_},
                   {"position", prompts_->position()},
                   {"skipped", prompts_->num_skipped()},
                   {"tokens", num_tokens_},
                   {"last_eval_step", last_eval_step_},
                   {"log_bytes", log_->size_bytes()},
                   {"text_bytes", core::sync_log_file()}});
    w.add_section("config", kVersion, resolved(config_));
    std::map<std::string, double> figures;
    // The model that a run starts from is never its best checkpoint.
    if (metric_step_ == step_ && step_ > 0)
      for (const auto& [key, value] : metric_) figures["eval/" + key] = value;
    w.set_metrics(figures);
    checkpoint::CheckpointConfig keep = config_.checkpoint;
    if (!remove_old) keep.keep_last = std::numeric_limits<int64_t>::max();
    w.publish(keep);
    saved_ = step_;
    core::log_info("checkpoint of step " + std::to_string(step_) + " written");
  }

  void check_same_run(const checkpoint::Checkpoint& c) {
    if (!c.has_section("config")) return;  // of an older version
    SftConfig before;
    core::read_fields([&](core::Fields& f) { describe(f, before); }, c.section("config", kVersion),
                      c.folder());
    std::string text;
    for (const std::string& change : differences(before, config_))
      text += (text.empty() ? "" : "; ") + change;
    if (text.empty()) return;
    PAN_CHECK(allow_change_, kConfig, "the configuration computes something else than the run did so far")
        .where(c.folder())
        .expected("the settings that it was written with")
        .got(text)
        .remedy("Add --allow-change to go on with the new settings, or train a new run");
    core::log_warn("going on with changed settings: " + text);
    changed_ = true;
  }

  void restore(const checkpoint::Checkpoint& c) {
    const at::NoGradGuard no_grad;
    if (config_.model.lora.enabled()) model::load_adapter(c.file(kAdapter), *decoder_);
    model::NamedTensors tensors;
    for (auto& [name, value] : model::read_safetensors(c.file("optimizer.safetensors"))) {
      if (name.rfind("exact.", 0) != 0) {
        tensors.emplace_back(name, value);
        continue;
      }
      for (const auto& [parameter, target] : decoder_->parameters())
        if (name == "exact." + parameter) target.copy_(value);
    }
    optimizer_->load(c.section("optimizer", kVersion), tensors);
    const core::Json state = c.section("sft", kVersion);
    auto integer = [&](const char* key) { return core::get_required<int64_t>(state, key, c.folder()); };
    step_ = saved_ = integer("/step");
    prompts_->set_position(integer("/position"));
    prompts_->set_num_skipped(integer("/skipped"));
    num_tokens_ = integer("/tokens");
    log_bytes_ = static_cast<uint64_t>(integer("/log_bytes"));
    // Older versions recorded neither.
    last_eval_step_ = state.contains("last_eval_step") ? integer("/last_eval_step") : step_;
    text_bytes_ =
        state.contains("text_bytes") ? static_cast<uint64_t>(integer("/text_bytes")) : text_bytes_before_;
    for (const auto& [key, value] : c.metrics())
      if (key.starts_with("eval/")) metric_[key.substr(5)] = value;
    metric_step_ = step_;
    core::log_info("going on after step " + std::to_string(step_) + " from " + c.folder());
  }

  SftConfig config_;
  bool allow_change_, changed_ = false;
  std::optional<train::RunDir> dir_;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  std::shared_ptr<const tokenizer::ChatTemplate> chat_;
  std::shared_ptr<const tasks::Task> task_;
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<rl::Optimizer> optimizer_;
  std::unique_ptr<train::PromptSource> prompts_;
  std::unique_ptr<metrics::JsonlWriter> log_;
  rl::StepReport last_;
  std::map<std::string, double> metric_;
  int64_t end_of_turn_ = -1, prompt_length_ = 0, step_ = 0, saved_ = -1, num_tokens_ = 0, metric_step_ = -1,
          last_eval_step_ = -1;
  uint64_t log_bytes_ = 0, text_bytes_ = 0, text_bytes_before_ = 0;
  std::string first_bad_;
};

}  // namespace

SftOutcome train(const SftRequest& request) {
  core::install_stop_signals();
  return SftTrainer(request).run();
}

}  // namespace pan::sft
