#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/load.h"
#include "core/error.h"
#include "core/log.h"
#include "core/log_file.h"
#include "core/signals.h"
#include "core/stopwatch.h"
#include "eval/evaluate.h"
#include "metrics/console.h"
#include "train/iteration_metrics.h"
#include "train/logs.h"
#include "train/memory_plan.h"
#include "train/open_run.h"
#include "train/process.h"
#include "train/run_dir.h"
#include "train/session.h"
#include "train/snapshot.h"
#include "train/stages.h"
#include "train/verl_names.h"

namespace pan::train {
namespace {

// A run ends within 30 s of a stop signal: an update that would not be done by then, with the checkpoint that
// follows it, is dropped.
constexpr double kGraceSeconds = 28;

// How fast a checkpoint is written, as long as none was: a slow disk.
constexpr double kBytesPerSecond = 2e8;

class Trainer {
 public:
  Trainer(const TrainRequest& request, OpenedRun opened, double start)
      : request_(request),
        dir_(std::move(opened.dir)),
        start_(start),
        s_(std::move(opened.resumed.session)),
        log_lengths_(opened.resumed.log_lengths),
        record_change_(opened.resumed.changed) {
    const std::optional<double> metric = opened.resumed.metric;
    last_saved_ = opened.resumed.found ? s_->state.iteration : -1;
    if (metric) last_metric_ = {s_->state.iteration, *metric};
    longest_save_s_ =
        static_cast<double>(plan_disk(config(), sizes_of(*s_)).checkpoint_bytes) / kBytesPerSecond;
    const LoggedTimes times = newest_times(dir_.metrics_path());
    longest_iteration_s_ = times.iteration_s;
    longest_eval_s_ = times.evaluation_s;
  }

  TrainOutcome run() {
    try {
      return loop();
    } catch (core::Error& error) {
      dir_.advise_on_disk(error, "iteration", last_saved_);
      throw;
    }
  }

 private:
  TrainOutcome loop() {
    TrainOutcome outcome;
    logs_ = std::make_unique<RunLogs>(dir_, config().train.tensorboard, log_lengths_);
    core::check_log_file();
    if (record_change_) save(true);
    if (eval_due()) evaluate();
    while (s_->state.iteration < config().train.iterations) {
      if (core::stop_requested()) {
        outcome.end = TrainEnd::kSignal;
        break;
      }
      if (early_stop_due()) {
        outcome.end = TrainEnd::kEarlyStop;
        break;
      }
      if (!next_iteration_fits()) {
        outcome.end = TrainEnd::kTimeLimit;
        break;
      }
      if (!run_iteration()) {
        outcome.end = TrainEnd::kSignal;
        break;
      }
    }
    if (outcome.end == TrainEnd::kDone && eval_due()) outcome.end = TrainEnd::kSignal;  // left undone by one
    if (!weights_are_dirty_ && last_saved_ != s_->state.iteration) save();
    outcome.iterations = s_->state.iteration;
    outcome.resumable_at = last_saved_;
    core::check_log_file();
    return outcome;
  }

  const config::RunConfig& config() const { return s_->config; }

  StageHooks hooks() {
    StageHooks h;
    h.should_stop = [] { return core::stop_requested(); };
    h.progress = [this](const StageHooks::Progress& p) { show_progress(p); };
    return h;
  }

  void show_progress(const StageHooks::Progress& p) {
    if (!bar_ || p.phase != bar_phase_) {
      bar_.reset();
      bar_ = std::make_unique<metrics::Progress>(p.phase, p.total, p.unit);
      bar_phase_ = p.phase;
    }
    bar_->update(p.done);
  }
  void hide_progress() { bar_.reset(); }

  // False: a stop signal came and the iteration was dropped.
  bool run_iteration() {
    Iteration it;
    it.index = s_->state.iteration;
    const LoopState boundary = s_->state;
    const double begin = core::now_s();
    const std::string name = "iteration " + std::to_string(it.index + 1);
    try {
      core::log_debug(name + ": sampling");
      run_rollout(*s_, it, hooks());
      release_free_memory();
      if (it.sequences.empty()) {
        hide_progress();
        skip_iteration(it, begin);
        return true;
      }
      core::log_debug(name + ": scoring");
      run_scoring(*s_, it, hooks());
    } catch (core::Error& error) {
      hide_progress();
      s_->state = boundary;
      if (error.kind() == core::ErrorKind::kGuard) {
        save_for_guard(error);
        throw error;
      }
      if (error.kind() != core::ErrorKind::kInterrupted) {
        if (keep() && error.kind() == core::ErrorKind::kData) add_remedy(error);
        throw error;
      }
      core::log_info("stopped while " + std::string(it.samples.empty() ? "sampling" : "scoring") +
                     ": iteration " + std::to_string(it.index + 1) + " is dropped");
      return false;
    } catch (const std::exception&) {  // out of memory, of the machine or a GPU
      hide_progress();
      s_->state = boundary;
      keep();
      throw;
    }
    run_rhythm(*s_, it);
    run_advantages(*s_, it);
    release_free_memory();
    core::log_debug(name + ": updating");
    const std::string weights_before = weights_version();
    weights_are_dirty_ = true;
    bool finished = false;
    try {
      finished = run_update(*s_, it, update_hooks());
    } catch (core::Error& error) {
      hide_progress();
      if (error.kind() != core::ErrorKind::kGuard) throw;
      end_at(it);
      save_for_guard(error);
      throw error;
    }
    release_free_memory();
    hide_progress();
    if (!finished && weights_version() == weights_before) {
      weights_are_dirty_ = false;
      s_->state = boundary;
      core::log_info("stopped before the first step of the update: " + name + " is dropped");
      return false;
    }
    if (!finished) {
      core::log_info("stopped in the update of iteration " + std::to_string(it.index + 1) +
                     ", which is dropped; the run resumes at " +
                     (last_saved_ >= 0 ? "the checkpoint of iteration " + std::to_string(last_saved_)
                                       : std::string("its start")));
      return false;
    }
    weights_are_dirty_ = false;
    finish_iteration(it, begin);
    return true;
  }

  // What was learnt up to this iteration is saved before an error ends the run: a prompt that is too long
  // late in the data, a reward program that fails, no memory left. Whether there is a checkpoint of it.
  bool keep() {
    if (s_->state.iteration == 0) return false;
    try {
      save();
    } catch (const std::exception& failed) {
      core::log_warn("checkpoint before stopping", failed.what());
    }
    return last_saved_ == s_->state.iteration;
  }

  void add_remedy(core::Error& error) const {
    error.remedy(error.remedy_text() + (error.remedy_text().empty() ? "" : "; ") +
                 "the run is saved at iteration " + std::to_string(last_saved_) +
                 ", go on with: pan-ppo resume " + dir_.path());
  }

  // Dynamic sampling found no prompt to learn from.
  void skip_iteration(Iteration& it, double begin) {
    core::log_info("iteration " + std::to_string(it.index + 1) + ": all answers to each of " +
                   std::to_string(it.dropped_prompts) +
                   " prompts earned the same; nothing to learn, no update");
    finish_iteration(it, begin);
  }

  StageHooks update_hooks() {
    StageHooks h = hooks();
    const double grace = std::max(0.0, kGraceSeconds - 1.2 * longest_save_s_);
    h.should_drop_update = [begin = core::now_s(), grace](double share) {
      if (!core::stop_requested()) return false;
      return (core::now_s() - begin) * (1 - share) > grace * share;
    };
    return h;
  }

  // Changes with every optimizer step, skipped ones included.
  std::string weights_version() const {
    std::string text = core::dump_json(s_->updater->policy_optimizer().state());
    if (rl::Optimizer* critic = s_->updater->critic_optimizer()) text += core::dump_json(critic->state());
    return text;
  }

  bool weights_are_finite() const {
    const at::NoGradGuard no_grad;
    for (const model::Decoder* decoder : {s_->policy.get(), s_->critic.get()}) {
      if (!decoder) continue;
      for (const auto& [name, tensor] : decoder->parameters())
        if (!at::isfinite(tensor).all().item<bool>()) return false;
    }
    return true;
  }

  // Before a guard stops the run: a checkpoint of the weights as they are. No older one goes for it, since
  // they may be spoilt already.
  void save_for_guard(core::Error& error) {
    const int64_t before = last_saved_;
    const std::string older =
        before >= 0 ? "the checkpoint of iteration " + std::to_string(before) + ", which is untouched"
                    : "its start, as there is no checkpoint";
    const std::string go_on = "pan-ppo resume " + dir_.path() + " --allow-change --set optimizer.lr=...";
    std::string text = error.remedy_text();
    if (!text.empty() && text.back() != '.') text += ".";
    if (!weights_are_finite()) {
      error.remedy(text + " The weights are not finite, so they are not kept: the run goes on from " + older +
                   ", with: " + go_on);
      return;
    }
    save(false, false);
    weights_are_dirty_ = false;
    if (last_saved_ == before)
      error.remedy(text + " The run goes on from " + older + ", with: " + go_on);
    else
      error.remedy(text + " The checkpoint of iteration " + std::to_string(last_saved_) +
                   " holds the weights as they are; go on with: " + go_on +
                   ". If they are spoilt already, remove it, and the run goes on from " + older);
  }

  void end_at(const Iteration& it) {
    LoopState& state = s_->state;
    state.iteration = it.index + 1;
    state.prompt_position = s_->prompts->position();
    state.prompts_skipped = s_->prompts->num_skipped();
  }

  void finish_iteration(Iteration& it, double begin) {
    LoopState& state = s_->state;
    end_at(it);
    longest_iteration_s_ = std::max(longest_iteration_s_, core::now_s() - begin);
    if (newest_save_s_ > 0) it.metrics["timing_s/save_checkpoint"] = std::exchange(newest_save_s_, 0);
    collect_metrics(*s_, it);
    watch_rhythm(it);
    logs_->iteration(*s_, it);
    const int64_t done = state.iteration, total = config().train.iterations;
    mean_iteration_s_ = mean_iteration_s_ == 0 ? core::now_s() - begin
                                               : 0.7 * mean_iteration_s_ + 0.3 * (core::now_s() - begin);
    core::log_info(metrics::iteration_line(
        {.iteration = done, .total = total, .eta_s = mean_iteration_s_ * static_cast<double>(total - done)},
        it.metrics));
    const int64_t show = config().train.show_sample_every;
    if (show > 0 && it.index % show == 0 && !it.samples.empty()) logs_->show_sample(*s_, it);
    core::check_log_file();
    if (eval_due() && !core::stop_requested()) evaluate();
    const int64_t every = config().checkpoint.every;
    if (every > 0 && done % every == 0) save();
  }

  void watch_rhythm(Iteration& it) {
    if (it.rhythm.empty()) return;
    const auto metric = [&](const char* key) {
      const auto found = it.metrics.find(key);
      return found == it.metrics.end() ? std::nan("") : found->second;
    };
    LoopState& state = s_->state;
    const std::optional<GuardReport> report =
        guard_rhythm(config().rhythm,
                     {.entropy = metric("rhythm/entropy_term/mean"),
                      .concentration = metric("rhythm/concentration_term/mean"),
                      .accuracy = static_cast<double>(it.sampled_right) / static_cast<double>(it.sampled)},
                     state.moments.entropy.sigma(), state.moments.concentration.sigma(), state.guard);
    if (config().rhythm.guard_window > 0)
      it.metrics["rhythm/guard/warnings"] = static_cast<double>(state.guard.warnings);
    if (!report) return;
    it.metrics["rhythm/guard/rhythm_t"] = report->rhythm.t;
    it.metrics["rhythm/guard/accuracy_t"] = report->accuracy.t;
    if (!report->warned) return;
    const std::string window = std::to_string(config().rhythm.guard_window);
    core::log_warn(
        "rhythm guard at iteration " + std::to_string(it.index + 1),
        "over the last " + window +
            " iterations the rhythm terms rose while accuracy fell: the model may be learning to look "
            "rhythmic instead of to answer. Look at rollouts.jsonl; consider a smaller rhythm.lambda");
  }

  // Also after a resume, where a stop kept the evaluation of the last iteration from being done.
  bool eval_due() const {
    const LoopState& state = s_->state;
    const eval::EvalConfig& c = config().eval;
    if (c.every == 0 || state.last_eval_iteration >= state.iteration) return false;
    if (state.iteration == 0) return c.at_start;
    return state.iteration % c.every == 0 || state.iteration == config().train.iterations;
  }

  void evaluate() {
    const double begin = core::now_s();
    LoopState& state = s_->state;
    core::log_debug("iteration " + std::to_string(state.iteration) + ": evaluating");
    eval::Evaluation e;
    try {
      std::unique_ptr<metrics::Progress> bar;
      e = eval::evaluate({.decoder = *s_->policy,
                          .tokenizer = *s_->tokenizer,
                          .task = *s_->task,
                          .encode = s_->encoder(),
                          .stop_tokens = s_->stop_tokens,
                          .config = config().eval,
                          .default_max_new_tokens = config().rollout.max_new_tokens,
                          .stop_strings = config().rollout.stop_strings,
                          .seed = static_cast<uint64_t>(config().seed),
                          .description = core::dump_json({{"run", dir_.path()},
                                                          {"iteration", state.iteration},
                                                          {"config", config::resolved(config())}}),
                          .progress =
                              [&](int64_t done, int64_t total) {
                                if (state.iteration == 0 && !std::exchange(first_token_said_, true))
                                  core::log_info("first token after " +
                                                 metrics::duration_text(core::now_s() - start_));
                                if (!bar)
                                  bar = std::make_unique<metrics::Progress>("evaluating", total, "answer");
                                bar->update(done);
                              },
                          .should_stop = [] { return core::stop_requested(); }});
    } catch (const core::Error& error) {
      if (error.kind() != core::ErrorKind::kInterrupted) throw;
      core::log_info("stopped while evaluating; the evaluation is done again after a resume");
      return;
    }
    eval::write_evaluation(dir_.eval_folder(state.iteration), e);
    state.last_eval_iteration = state.iteration;
    longest_eval_s_ = std::max(longest_eval_s_, core::now_s() - begin);
    for (const std::string& line : eval::evaluation_lines(e)) core::log_info(line);
    metrics::Values values;
    for (const auto& [key, value] : e.metrics) values["eval/" + key] = value;
    values.merge(verl_names(s_->task->name(), config().eval.samples, e.metrics));
    values["timing_s/testing"] = core::now_s() - begin;
    logs_->evaluation(state.iteration, values);
    const bool saved_without = last_saved_ == state.iteration;
    note_best(values);
    // A stop signal had this iteration saved before its evaluation: its metric decides what is kept.
    if (saved_without) save(true);
  }

  void note_best(const metrics::Values& values) {
    LoopState& state = s_->state;
    const auto found = values.find(config().checkpoint.metric);
    if (found == values.end()) {
      core::log_warn("checkpoint.metric", "checkpoint.metric " + config().checkpoint.metric +
                                              " is not among the evaluation's figures");
      return;
    }
    const bool higher = config().checkpoint.better == checkpoint::Better::kHigher;
    const bool better = !state.best_metric ||
                        (higher ? found->second > *state.best_metric : found->second < *state.best_metric);
    if (better) {
      state.best_metric = found->second;
      state.best_iteration = state.iteration;
      state.evals_without_best = 0;
    } else {
      ++state.evals_without_best;
    }
    last_metric_ = {state.iteration, found->second};
    const bool keep = better && config().checkpoint.keep_best > 0 && state.iteration > 0;
    if (keep && last_saved_ != state.iteration) save();
  }

  bool early_stop_due() {
    const int64_t limit = config().train.early_stop_evals;
    if (limit == 0 || s_->state.evals_without_best < limit) return false;
    core::log_info("no better " + config().checkpoint.metric + " in " + std::to_string(limit) +
                   " evaluations: the run ends early");
    return true;
  }

  bool next_iteration_fits() {
    double limit = config().train.time_limit_s;
    if (request_.time_limit_s > 0)
      limit = limit > 0 ? std::min(limit, request_.time_limit_s) : request_.time_limit_s;
    if (limit <= 0) return true;
    const double needed = 1.1 * longest_iteration_s_ + 1.5 * longest_save_s_ + longest_eval_s_;
    if (core::now_s() - start_ + needed <= limit) return true;
    core::log_info("the next iteration would not end within the time limit of " +
                   metrics::duration_text(limit));
    return false;
  }

  // `again`: even where there is one of this iteration, which is replaced.
  void save(bool again = false, bool remove_old = true) {
    const int64_t iteration = s_->state.iteration;
    if (last_saved_ == iteration && !again) return;
    const double begin = core::now_s();
    core::log_debug("iteration " + std::to_string(iteration) + ": writing");
    SnapshotOptions options{.remove_old = remove_old, .program = request_.program};
    // The model a run starts from is never its best checkpoint: a run that is not stopped keeps none of it.
    if (last_metric_.first == iteration && iteration > 0) options.metric = last_metric_.second;
    try {
      save_snapshot(*s_, dir_, logs_->sync(), options);
    } catch (core::Error& error) {
      if (error.kind() != core::ErrorKind::kIo) throw;
      throw error.expected("room for a checkpoint");
    }
    last_saved_ = iteration;
    newest_save_s_ = core::now_s() - begin;
    longest_save_s_ = saved_in_this_process_ ? std::max(longest_save_s_, newest_save_s_) : newest_save_s_;
    saved_in_this_process_ = true;
    core::log_info("checkpoint of iteration " + std::to_string(last_saved_) + " written in " +
                   metrics::duration_text(core::now_s() - begin));
  }

  TrainRequest request_;
  RunDir dir_;
  double start_;
  std::unique_ptr<Session> s_;
  LogLengths log_lengths_;
  bool record_change_;
  std::unique_ptr<RunLogs> logs_;
  std::unique_ptr<metrics::Progress> bar_;
  std::string bar_phase_;
  int64_t last_saved_ = -1;
  bool weights_are_dirty_ = false, saved_in_this_process_ = false, first_token_said_ = false;
  double longest_iteration_s_ = 0, longest_save_s_ = 0, longest_eval_s_ = 0, mean_iteration_s_ = 0;
  double newest_save_s_ = 0;  // until an iteration has logged it
  std::pair<int64_t, double> last_metric_ = {-1, 0};
};

}  // namespace

TrainOutcome train(const TrainRequest& request) {
  core::install_stop_signals();
  const double start = core::now_s();
  return Trainer(request, open_run(request), start).run();
}

}  // namespace pan::train
