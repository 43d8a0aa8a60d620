#include "rl/update.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/stopwatch.h"
#include "model/device.h"
#include "rl/forward.h"
#include "rl/kl.h"
#include "rl/loss.h"

namespace pan::rl {

namespace {

using Sums = std::map<std::string, double>;

// Sums; the extreme for names that end in _max or _min.
void merge(const std::string& name, double value, Sums& into) {
  const auto [it, fresh] = into.emplace(name, value);
  if (fresh) return;
  if (name.ends_with("_max"))
    it->second = std::max(it->second, value);
  else if (name.ends_with("_min"))
    it->second = std::min(it->second, value);
  else
    it->second += value;
}

// Named figures of one minibatch; fetched from the device in one copy.
class Tally {
 public:
  void add(const std::string& name, const at::Tensor& value) {
    names_.push_back(name);
    values_.push_back(value.detach().to(at::kDouble));
  }
  // Merges everything into `sums` and clears the tally.
  void fetch(Sums& sums) {
    if (names_.empty()) return;
    const at::Tensor host = at::stack(values_).cpu();
    for (size_t i = 0; i < names_.size(); ++i) merge(names_[i], host.const_data_ptr<double>()[i], sums);
    names_.clear();
    values_.clear();
  }

 private:
  std::vector<std::string> names_;
  std::vector<at::Tensor> values_;
};

// What the optimizer steps of one of the two models added up to.
struct Phase {
  Sums sums;
  double tokens = 0, grad_norms = 0, lr = 0;
  int64_t attempts = 0, added = 0, applied = 0, skipped = 0, epochs = 0;
  bool early_stop = false;

  double per_token(const std::string& name) const { return tokens > 0 ? sums.at(name) / tokens : 0.0; }
  // Mean over the steps whose sums were added.
  double per_step(const std::string& name) const {
    return added > 0 ? sums.at(name) / static_cast<double>(added) : 0.0;
  }
  double grad_norm() const { return applied > 0 ? grad_norms / static_cast<double>(applied) : 0.0; }
  void add(const Sums& step, double step_tokens) {
    for (const auto& [name, v] : step) merge(name, v, sums);
    tokens += step_tokens;
    ++added;
  }
  void report(const StepReport& r) {
    lr = r.lr;
    if (!r.applied) {
      ++skipped;
      return;
    }
    ++applied;
    grad_norms += r.grad_norm;
  }
};

std::string first_bad_parameter(const model::NamedTensors& parameters) {
  for (const auto& [name, p] : parameters)
    if (!at::isfinite(p).all().item<bool>()) return "parameter " + name;
  return "";
}

}  // namespace

// One call of Updater::update.
class UpdateRun {
 public:
  UpdateRun(Models models, const RlConfig& config, const UpdateOptions& options, dist::Group& group,
            Optimizer& policy, Optimizer* critic, const UpdateInput& in)
      : models_(models),
        config_(config),
        options_(options),
        group_(group),
        policy_(policy),
        critic_(critic),
        in_(in),
        offsets_(in.scored.offsets),
        device_(models.policy->options().device) {
    importance_ = importance();
  }

  UpdateResult run() {
    const bool separate = models_.critic != nullptr, shared = !separate && models_.value_head != nullptr;
    const bool warming = (separate || shared) && in_.iteration < config_.critic.warmup_iterations;
    const int64_t passes = (separate ? 1 : 0) + (separate && warming ? 0 : 1);
    total_ = in_.plan.num_steps() * passes;
    for (const EpochPlan& epoch : in_.plan.epochs)
      for (const Minibatch& minibatch : epoch)
        total_micro_ += passes * static_cast<int64_t>(minibatch.size());
    const core::Stopwatch watch;
    if (separate) loop(critic_phase_, [this](const Minibatch& m) { return critic_step(m); });
    model::wait_for(device_);
    result_.critic_seconds = watch.seconds();
    if (!stopped() && !warming)
      loop(policy_phase_, [this, shared](const Minibatch& m) { return policy_step(m, shared); });
    else if (!stopped() && shared)
      loop(critic_phase_, [this](const Minibatch& m) { return critic_step(m); });
    model::wait_for(device_);
    (warming ? result_.critic_seconds : result_.actor_seconds) =
        watch.seconds() - (warming ? 0 : result_.critic_seconds);
    write_metrics(separate || shared, warming);
    return std::move(result_);
  }

 private:
  bool stopped() const { return result_.interrupted || result_.bad; }

  // Runs `step` for every minibatch of every epoch; a step returns false to end the phase.
  template <class F>
  void loop(Phase& phase, F&& step) {
    for (const EpochPlan& epoch : in_.plan.epochs) {
      ++phase.epochs;
      for (const Minibatch& minibatch : epoch) {
        if (group_.any(options_.progress && !options_.progress(done_++, total_))) result_.interrupted = true;
        if (result_.interrupted) return;
        if (!step(minibatch) || result_.bad) return;
      }
    }
  }

  // Asked once per minibatch on every rank, however many micro-batches each has.
  bool agreed_to_stop() {
    result_.interrupted = result_.interrupted || group_.any(stop_);
    return result_.interrupted;
  }

  // Asked before each micro-batch. True: no further one on this rank.
  bool stop_asked() {
    const double share =
        static_cast<double>(done_micro_++) / static_cast<double>(std::max<int64_t>(1, total_micro_));
    if (options_.should_stop && options_.should_stop(share)) stop_ = true;
    return stop_;
  }

  // Token weights of a micro-batch, on the device. `idle`: all are 0.
  struct Weights {
    at::Tensor values;
    bool idle = false;
  };

  // Of each micro-batch of a minibatch; `tokens` are those of all ranks.
  std::vector<Weights> weights(const Minibatch& minibatch, double& tokens) const {
    std::vector<int64_t> lengths;
    std::vector<uint8_t> trained;
    for (const MicroBatch& micro : minibatch)
      for (int64_t i : micro) {
        const auto k = static_cast<size_t>(i);
        lengths.push_back(offsets_[k + 1] - offsets_[k]);
        trained.push_back(in_.advantages.trained[k]);
      }
    StepCounts counts = count_step(lengths, trained);
    counts = {group_.sum(counts.tokens), group_.sum(counts.sequences)};
    tokens = counts.tokens;
    const at::Tensor all = token_weights(lengths, trained, counts, token_aggregation(config_),
                                         std::max<int64_t>(1, options_.max_response_tokens));
    std::vector<Weights> parts;
    int64_t begin = 0;
    for (const MicroBatch& micro : minibatch) {
      int64_t n = 0;
      for (int64_t i : micro) n += offsets_[static_cast<size_t>(i) + 1] - offsets_[static_cast<size_t>(i)];
      const at::Tensor part = all.narrow(0, begin, n);
      parts.push_back({part.to(device_), !part.gt(0).any().item<bool>()});
      begin += n;
    }
    return parts;
  }

  at::Tensor part(const at::Tensor& flat, const MicroBatch& micro) const {
    return gather(flat, offsets_, micro, device_);
  }

  at::Tensor importance() const {
    if (!config_.ppo.importance_cap) return {};
    std::vector<float> sampler;
    for (const TrainSequence& s : in_.sequences) {
      PAN_CHECK(static_cast<int64_t>(s.sampler_logprobs.size()) == s.response_length(), kInternal,
                "ppo.importance_cap needs the sampler's log-probabilities of every response token")
          .where("sequence " + std::to_string(s.id));
      sampler.insert(sampler.end(), s.sampler_logprobs.begin(), s.sampler_logprobs.end());
    }
    return importance_weights(in_.scored.logprobs, at::tensor(sampler, at::kFloat),
                              *config_.ppo.importance_cap);
  }

  ValueLossResult value_term(const at::Tensor& values, const MicroBatch& micro, const at::Tensor& w,
                             Tally& tally) const {
    const ValueLossResult v = value_loss(values, part(in_.scored.values, micro),
                                         part(in_.advantages.returns, micro), w, config_.critic.value_clip);
    tally.add("vf_loss", v.loss);
    tally.add("vf_clipped", v.clipped);
    tally.add("value_sum", v.sum);
    tally.add("returns_check", part(in_.advantages.returns, micro).sum());
    return v;
  }

  // A minibatch of the separate critic; with a shared trunk (warm-up) the head alone.
  bool critic_step(const Minibatch& minibatch) {
    double tokens = 0;
    const std::vector<Weights> w = weights(minibatch, tokens);
    Tally tally;
    for (size_t k = 0; k < minibatch.size(); ++k) {
      if (stop_asked()) break;
      if (w[k].idle) continue;
      const PackedRows packed = pack_rows(in_.sequences, minibatch[k], device_);
      at::Tensor hidden;
      if (models_.critic) {
        hidden = response_hidden(*models_.critic, packed);
      } else {
        const at::NoGradGuard no_grad;
        hidden = response_hidden(*models_.policy, packed);
      }
      value_term((*models_.value_head)(hidden), minibatch[k], w[k].values, tally).loss.backward();
      critic_->accumulate();
    }
    if (agreed_to_stop()) return false;
    Sums sums;
    tally.fetch(sums);
    if (sums.empty()) return true;  // nothing to train on
    ++critic_phase_.attempts;
    if (!finish({critic_}, {&critic_phase_}, sums)) return true;
    critic_phase_.add(sums, tokens);
    return true;
  }

  // The policy's loss of one micro-batch; fills the tally.
  at::Tensor policy_term(const PackedRows& packed, const at::Tensor& hidden, const MicroBatch& micro,
                         const at::Tensor& w, Tally& tally) {
    const PpoConfig& ppo = config_.ppo;
    const auto out =
        response_logprobs(*models_.policy, hidden, packed, options_.temperature, ppo.entropy_coefficient > 0);
    const at::Tensor old = part(in_.scored.logprobs, micro),
                     advantages = part(in_.advantages.advantages, micro);
    const PolicyLossResult p =
        policy_loss({out.logprob, old, advantages, w, packed.offsets, part(importance_, micro)}, ppo);
    if (policy_phase_.attempts == 0 && !result_.metrics.count("actor/first_ratio_error"))
      result_.metrics["actor/first_ratio_error"] =
          (out.logprob.detach() - old).expm1().abs().max().item<double>();
    tally.add("advantages_check", advantages.sum());
    tally.add("old_check", old.sum());
    tally.add("new_check", out.logprob.sum());
    tally.add("pg_loss", p.loss);
    tally.add("clipped", p.clipped);
    tally.add("clipped_lower", p.clipped_lower);
    tally.add("kl", p.kl_sum);
    tally.add("k3", p.k3_sum);
    tally.add("ratio", p.ratio_sum);
    tally.add("ratio_max", p.ratio_max);
    tally.add("ratio_min", p.ratio_min);
    at::Tensor loss = p.loss;
    const at::Tensor used = w.gt(0).to(at::kFloat);
    if (ppo.entropy_coefficient > 0) {
      loss = loss - ppo.entropy_coefficient * (out.entropy * w).sum();
      tally.add("entropy", (out.entropy.detach() * used).sum());
    }
    if (kl_place(config_) == KlPlace::kLoss) {
      const at::Tensor kl =
          kl_tokens(out.logprob, part(in_.scored.reference_logprobs, micro), kl_estimator(config_));
      loss = loss + in_.kl_coefficient * (kl * w).sum();
      tally.add("kl_loss", (kl.detach() * used).sum());
    }
    return loss;
  }

  bool policy_step(const Minibatch& minibatch, bool shared) {
    double tokens = 0;
    const std::vector<Weights> w = weights(minibatch, tokens);
    Tally tally;
    for (size_t k = 0; k < minibatch.size(); ++k) {
      if (stop_asked()) break;
      if (w[k].idle) continue;
      const PackedRows packed = pack_rows(in_.sequences, minibatch[k], device_);
      const at::Tensor hidden = response_hidden(*models_.policy, packed);
      at::Tensor loss = policy_term(packed, hidden, minibatch[k], w[k].values, tally);
      if (shared)
        loss = loss + config_.critic.coefficient *
                          value_term((*models_.value_head)(hidden), minibatch[k], w[k].values, tally).loss;
      tally.add("loss", loss);
      loss.backward();
      policy_.accumulate();
      if (shared) critic_->accumulate();
    }
    if (agreed_to_stop()) return false;
    Sums sums;
    tally.fetch(sums);
    if (sums.empty()) return true;
    if (config_.ppo.target_kl && group_.sum(sums["k3"]) / tokens > *config_.ppo.target_kl) {
      policy_.zero();
      if (shared) critic_->zero();
      policy_phase_.early_stop = true;
      return false;
    }
    ++policy_phase_.attempts;
    if (shared) ++critic_phase_.attempts;
    const bool good = shared ? finish({&policy_, critic_}, {&policy_phase_, &critic_phase_}, sums)
                             : finish({&policy_}, {&policy_phase_}, sums);
    if (!good) return true;
    policy_phase_.add(sums, tokens);
    if (shared) critic_phase_.add(sums, tokens);
    return true;
  }

  // Steps the optimizers, or skips them together where a loss is not finite. True: the sums may be added to
  // the metrics.
  bool finish(const std::vector<Optimizer*>& optimizers, const std::vector<Phase*>& phases,
              const Sums& sums) {
    const bool finite =
        std::all_of(sums.begin(), sums.end(), [](const auto& s) { return std::isfinite(s.second); });
    const bool good = !group_.any(!finite);
    bool applied = true;
    for (size_t i = 0; i < optimizers.size(); ++i) {
      StepReport report;
      if (good) {
        report = optimizers[i]->step();
      } else {
        report.lr = optimizers[i]->lr();
        optimizers[i]->skip();
      }
      phases[i]->report(report);
      if (report.applied) continue;
      applied = false;
      if (result_.first_bad.empty())
        result_.first_bad = good ? "gradient of " + report.first_bad : culprit(*optimizers[i], sums);
      if (optimizers[i]->skipped_in_a_row() >= options_.max_bad_steps) result_.bad = true;
    }
    return good && applied;
  }

  // The first thing, in the order of the computation, that is not finite.
  static std::string culprit(const Optimizer& optimizer, const Sums& sums) {
    const std::string parameter = first_bad_parameter(optimizer.parameters());
    if (!parameter.empty()) return parameter;
    const std::vector<std::pair<const char*, const char*>> order = {
        {"advantages_check", "advantages"},
        {"returns_check", "returns"},
        {"old_check", "old log-probabilities"},
        {"new_check", "log-probabilities of the update"},
        {"value_sum", "values of the update"},
        {"entropy", "entropy of the update"},
        {"kl_loss", "KL to the reference model"},
        {"pg_loss", "policy loss"},
        {"vf_loss", "value loss"}};
    for (const auto& [key, name] : order) {
      const auto it = sums.find(key);
      if (it != sums.end() && !std::isfinite(it->second)) return name;
    }
    return "loss";
  }

  void write_metrics(bool has_critic, bool warming) {
    Metrics& m = result_.metrics;
    if (has_critic) write_critic(m);
    if (warming) return;
    const Phase& p = policy_phase_;
    m["actor/optimizer_steps"] = static_cast<double>(p.applied);
    m["actor/skipped_steps"] = static_cast<double>(p.skipped);
    m["actor/epochs"] = static_cast<double>(p.epochs);
    m["actor/early_stop"] = p.early_stop ? 1 : 0;
    m["actor/lr"] = p.attempts > 0 ? p.lr : policy_.lr();
    if (importance_.defined() && importance_.numel() > 0) {
      m["actor/importance_mean"] = importance_.mean().item<double>();
      m["actor/importance_capped_share"] =
          importance_.ge(*config_.ppo.importance_cap).to(at::kFloat).mean().item<double>();
    }
    if (in_.scored.num_tokens() > 0) m["actor/entropy"] = in_.scored.entropy.mean().item<double>();
    if (p.sums.empty()) return;
    m["actor/pg_loss"] = p.per_step("pg_loss");
    m["actor/loss"] = p.per_step("loss");
    m["actor/grad_norm"] = p.grad_norm();
    m["actor/pg_clipfrac"] = p.per_token("clipped");
    m["actor/pg_clipfrac_lower"] = p.per_token("clipped_lower");
    m["actor/ppo_kl"] = p.per_token("kl");
    m["actor/ppo_kl_k3"] = p.per_token("k3");
    m["actor/ratio_mean"] = p.per_token("ratio");
    m["actor/ratio_max"] = p.sums.at("ratio_max");
    m["actor/ratio_min"] = p.sums.at("ratio_min");
    if (config_.ppo.entropy_coefficient > 0) m["actor/entropy_loss"] = p.per_token("entropy");
    if (p.sums.count("kl_loss")) {
      m["actor/kl_loss"] = p.per_token("kl_loss");
      m["actor/kl_coef"] = in_.kl_coefficient;
    }
  }

  void write_critic(Metrics& m) const {
    const Phase& c = critic_phase_;
    m["critic/skipped_steps"] = static_cast<double>(c.skipped);
    m["critic/lr"] = c.attempts > 0 ? c.lr : critic_->lr();
    if (c.sums.empty()) return;
    m["critic/vf_loss"] = c.per_step("vf_loss");
    m["critic/vf_clipfrac"] = c.per_token("vf_clipped");
    m["critic/vpred_mean"] = c.per_token("value_sum");
    m["critic/grad_norm"] = c.grad_norm();
  }

  Models models_;
  const RlConfig& config_;
  const UpdateOptions& options_;
  dist::Group& group_;
  Optimizer& policy_;
  Optimizer* critic_;
  const UpdateInput& in_;
  const std::vector<int64_t>& offsets_;
  at::Device device_;
  at::Tensor importance_;  // [R], undefined where off
  Phase policy_phase_, critic_phase_;
  int64_t done_ = 0, total_ = 0;              // optimizer steps
  int64_t done_micro_ = 0, total_micro_ = 0;  // micro-batches
  bool stop_ = false;                         // should_stop said so, on this rank
  UpdateResult result_;
};

namespace {

// A critic's own output matrix, where embeddings are not tied, takes no part in anything.
model::NamedTensors critic_parameters(const Models& models) {
  model::NamedTensors out;
  if (models.critic) {
    const bool tied = models.critic->arch().tied_embeddings;
    const void* output = models.critic->output_weight().const_data_ptr();
    for (const auto& [name, p] : models.critic->parameters())
      if (tied || p.const_data_ptr() != output) out.emplace_back(name, p);
  }
  for (const auto& p : models.value_head->parameters()) out.push_back(p);
  return out;
}

}  // namespace

Updater::Updater(const Models& models, const RlConfig& config, const UpdateOptions& options,
                 dist::Group& group)
    : models_(models), config_(config), options_(options), group_(&group) {
  PAN_CHECK(models_.policy != nullptr, kInternal, "an update without a policy");
  PAN_CHECK(needs_critic(config_) == (models_.value_head != nullptr), kInternal,
            "a value head is needed for gae and for nothing else");
  policy_ = std::make_unique<Optimizer>(models_.policy->parameters(), config_.optimizer, options_.total_steps,
                                        group);
  if (models_.value_head)
    critic_ = std::make_unique<Optimizer>(critic_parameters(models_), config_.critic_optimizer,
                                          options_.critic_total_steps, group);
}

UpdateResult Updater::update(const UpdateInput& input) {
  PAN_CHECK(input.advantages.trained.size() == input.sequences.size() &&
                input.scored.num_sequences() == static_cast<int64_t>(input.sequences.size()),
            kInternal, "scores, advantages and sequences do not belong together");
  PAN_CHECK(kl_place(config_) != KlPlace::kLoss || input.scored.reference_logprobs.defined(), kInternal,
            "KL in the loss without reference log-probabilities");
  PAN_CHECK(
      token_aggregation(config_) != Aggregation::kSeqMeanTokenSumNorm || options_.max_response_tokens >= 1,
      kInternal, "seq-mean-token-sum-norm without the longest response's length");
  return UpdateRun(models_, config_, options_, *group_, *policy_, critic_.get(), input).run();
}

}  // namespace pan::rl
