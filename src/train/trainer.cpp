#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/load.h"
#include "core/error.h"
#include "core/log.h"
#include "core/signals.h"
#include "eval/evaluate.h"
#include "metrics/console.h"
#include "rollout/record.h"
#include "train/iteration_metrics.h"
#include "train/logs.h"
#include "train/process.h"
#include "train/run_dir.h"
#include "train/session.h"
#include "train/snapshot.h"
#include "train/stages.h"

namespace pan::train {
namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// An update that needs less than this after a stop signal is finished, else dropped: with what follows it
// (the checkpoint) a run ends within 30 s of the signal.
constexpr double kGraceSeconds = 20;

struct Opened {
  RunDir dir;
  std::unique_ptr<Session> session;
  LogLengths log_lengths = {};
  bool found = false;  // a checkpoint
};

void check_prompts(Session& s, double seconds) {
  const TrainConfig& c = s.config.train;
  const int64_t left = (c.iterations - s.state.iteration) * c.prompts_per_iteration;
  s.prompts->check(std::min(left, c.prompts_per_iteration), left, seconds);
}

// A new run's folder is made last: whatever is wrong with model, tokenizer and data leaves no trace.
Opened open_run(const TrainRequest& request) {
  if (!request.resume) {
    RunDir::check_free(request.run_dir);
    std::unique_ptr<Session> session = open_session(request.config);
    check_prompts(*session, request.read_ahead_s);
    RunDir dir = RunDir::create(request.run_dir, config::resolved(request.config));
    core::set_log_file(dir.log_path());
    core::log_info("run folder " + dir.path());
    return {.dir = std::move(dir), .session = std::move(session)};
  }
  RunDir dir = RunDir::open(request.run_dir);
  core::set_log_file(dir.log_path());
  core::log_info("run folder " + dir.path());
  Resumed resumed = resume_session(dir, request.config, request.allow_change);
  check_prompts(*resumed.session, request.read_ahead_s);
  return {.dir = std::move(dir),
          .session = std::move(resumed.session),
          .log_lengths = resumed.log_lengths,
          .found = resumed.found};
}

class Trainer {
 public:
  Trainer(const TrainRequest& request, Opened opened, double start)
      : request_(request), dir_(std::move(opened.dir)), start_(start), s_(std::move(opened.session)) {
    last_saved_ = opened.found ? s_->state.iteration : -1;
    logs_ = std::make_unique<RunLogs>(dir_, config().train.tensorboard, opened.log_lengths);
    const LoggedTimes times = newest_times(dir_.metrics_path());
    longest_iteration_s_ = times.iteration_s;
    longest_eval_s_ = times.evaluation_s;
  }

  TrainOutcome run() {
    TrainOutcome outcome;
    if (eval_due()) evaluate();
    while (s_->state.iteration < config().train.iterations) {
      if (core::stop_requested()) {
        outcome.end = TrainEnd::kSignal;
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
      if (early_stop_due()) {
        outcome.end = TrainEnd::kEarlyStop;
        break;
      }
    }
    if (!weights_are_dirty_ && last_saved_ != s_->state.iteration) save();
    outcome.iterations = s_->state.iteration;
    outcome.resumable_at = last_saved_;
    return outcome;
  }

 private:
  const config::RunConfig& config() const { return s_->config; }

  StageHooks hooks() {
    StageHooks h;
    h.should_stop = [] { return core::stop_requested(); };
    h.progress = [this](const std::string& phase, double done, double total) {
      show_progress(phase, done, total);
    };
    return h;
  }

  void show_progress(const std::string& phase, double done, double total) {
    if (!bar_ || phase != bar_phase_) {
      bar_.reset();
      bar_ = std::make_unique<metrics::Progress>(phase, static_cast<int64_t>(total), "seq");
      bar_phase_ = phase;
    }
    bar_->update(static_cast<int64_t>(done));
  }
  void hide_progress() { bar_.reset(); }

  // False: a stop signal came and the iteration was dropped.
  bool run_iteration() {
    Iteration it;
    it.index = s_->state.iteration;
    const LoopState boundary = s_->state;
    const double begin = now_s();
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
      if (error.kind() != core::ErrorKind::kInterrupted) throw keep_before(error);
      core::log_info("stopped while " + std::string(it.samples.empty() ? "sampling" : "scoring") +
                     ": iteration " + std::to_string(it.index + 1) + " is dropped");
      return false;
    }
    run_rhythm(*s_, it);
    run_advantages(*s_, it);
    release_free_memory();
    core::log_debug(name + ": updating");
    weights_are_dirty_ = true;
    const bool finished = run_update(*s_, it, update_hooks());
    release_free_memory();
    hide_progress();
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
  // late in the data, a reward program that fails.
  core::Error keep_before(core::Error error) {
    if (s_->state.iteration == 0) return error;
    try {
      save();
    } catch (const core::Error& failed) {
      core::log_warn("checkpoint before stopping", failed.what());
    }
    if (last_saved_ == s_->state.iteration && error.kind() == core::ErrorKind::kData)
      error.remedy(error.remedy_text() + (error.remedy_text().empty() ? "" : "; ") +
                   "the run is saved at iteration " + std::to_string(last_saved_) +
                   ", go on with: pan-ppo resume " + dir_.path());
    return error;
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
    h.should_drop_update = [begin = now_s()](double share) {
      if (!core::stop_requested()) return false;
      return (now_s() - begin) * (1 - share) > kGraceSeconds * share;
    };
    return h;
  }

  void finish_iteration(Iteration& it, double begin) {
    LoopState& state = s_->state;
    state.iteration = it.index + 1;
    state.prompt_position = s_->prompts->position();
    state.prompts_skipped = s_->prompts->num_skipped();
    longest_iteration_s_ = std::max(longest_iteration_s_, now_s() - begin);
    collect_metrics(*s_, it);
    watch_rhythm(it);
    logs_->iteration(*s_, it);
    const int64_t done = state.iteration, total = config().train.iterations;
    mean_iteration_s_ =
        mean_iteration_s_ == 0 ? now_s() - begin : 0.7 * mean_iteration_s_ + 0.3 * (now_s() - begin);
    core::log_info(metrics::iteration_line(
        {.iteration = done, .total = total, .eta_s = mean_iteration_s_ * static_cast<double>(total - done)},
        it.metrics));
    const int64_t show = config().train.show_sample_every;
    if (show > 0 && it.index % show == 0 && !it.samples.empty()) logs_->show_sample(*s_, it);
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
    const double begin = now_s();
    LoopState& state = s_->state;
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
    longest_eval_s_ = std::max(longest_eval_s_, now_s() - begin);
    for (const std::string& line : eval::evaluation_lines(e)) core::log_info(line);
    metrics::Values values;
    for (const auto& [key, value] : e.metrics) values["eval/" + key] = value;
    values["timing_s/testing"] = now_s() - begin;
    logs_->evaluation(state.iteration, values);
    note_best(values);
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
    if (better && config().checkpoint.keep_best > 0 && state.iteration > 0) save();
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
    if (now_s() - start_ + needed <= limit) return true;
    core::log_info("the next iteration would not end within the time limit of " +
                   metrics::duration_text(limit));
    return false;
  }

  void save() {
    if (last_saved_ == s_->state.iteration) return;
    const double begin = now_s();
    std::optional<double> metric;
    if (last_metric_.first == s_->state.iteration) metric = last_metric_.second;
    try {
      save_snapshot(*s_, dir_, logs_->sync(), metric);
    } catch (core::Error& error) {
      if (error.kind() != core::ErrorKind::kIo) throw;
      throw error.expected("room for a checkpoint")
          .remedy("Free some space; " +
                  (last_saved_ >= 0
                       ? "the checkpoint of iteration " + std::to_string(last_saved_) + " is untouched, go on"
                       : std::string("go on")) +
                  " with: pan-ppo resume " + dir_.path());
    }
    last_saved_ = s_->state.iteration;
    longest_save_s_ = std::max(longest_save_s_, now_s() - begin);
    core::log_info("checkpoint of iteration " + std::to_string(last_saved_) + " written in " +
                   metrics::duration_text(now_s() - begin));
  }

  TrainRequest request_;
  RunDir dir_;
  double start_;
  std::unique_ptr<Session> s_;
  std::unique_ptr<RunLogs> logs_;
  std::unique_ptr<metrics::Progress> bar_;
  std::string bar_phase_;
  int64_t last_saved_ = -1;
  bool weights_are_dirty_ = false;
  double longest_iteration_s_ = 0, longest_save_s_ = 0, longest_eval_s_ = 0, mean_iteration_s_ = 0;
  std::pair<int64_t, double> last_metric_ = {-1, 0};
};

}  // namespace

TrainOutcome train(const TrainRequest& request) {
  core::install_stop_signals();
  const double start = now_s();
  return Trainer(request, open_run(request), start).run();
}

}  // namespace pan::train
