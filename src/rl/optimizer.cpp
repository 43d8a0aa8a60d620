#include "rl/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>

#include "core/error.h"

namespace pan::rl {

double schedule_factor(const OptimizerConfig& config, int64_t step, int64_t total_steps) {
  if (step < config.warmup_steps)
    return static_cast<double>(step + 1) / static_cast<double>(config.warmup_steps);
  if (config.schedule == Schedule::kConstant) return 1.0;
  const auto span = static_cast<double>(std::max<int64_t>(1, total_steps - config.warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - config.warmup_steps) / span);
  const double share = config.schedule == Schedule::kLinear
                           ? 1.0 - progress
                           : 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return config.min_lr_ratio + (1.0 - config.min_lr_ratio) * share;
}

Optimizer::Optimizer(model::NamedTensors parameters, const OptimizerConfig& config, int64_t total_steps,
                     dist::Group& group)
    : parameters_(std::move(parameters)), config_(config), total_steps_(total_steps), group_(&group) {
  const at::NoGradGuard no_grad;
  for (auto& [name, p] : parameters_) {
    PAN_CHECK((p.scalar_type() == at::kFloat || p.scalar_type() == at::kBFloat16) && p.is_contiguous(),
              kInternal, "a parameter that the optimizer cannot update")
        .pointer(name)
        .expected("contiguous float32 or bfloat16");
    p.requires_grad_(true);
    const bool is_master = p.scalar_type() == at::kFloat;
    masters_.push_back(is_master ? p : p.detach().to(at::kFloat));
    sums_.emplace_back();
    exp_avg_.push_back(at::zeros(p.sizes(), p.options().dtype(at::kFloat).requires_grad(false)));
    exp_avg_sq_.push_back(at::zeros_like(exp_avg_.back()));
  }
}

at::Tensor& Optimizer::gradient(size_t i) {
  at::Tensor& p = parameters_[i].second;
  return p.scalar_type() == at::kFloat ? p.mutable_grad() : sums_[i];
}

void Optimizer::accumulate() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& p = parameters_[i].second;
    if (p.scalar_type() == at::kFloat || !p.grad().defined()) continue;
    if (sums_[i].defined())
      sums_[i].add_(p.grad());
    else
      sums_[i] = p.grad().to(at::kFloat);
    p.mutable_grad() = at::Tensor();
  }
}

void Optimizer::zero() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    parameters_[i].second.mutable_grad() = at::Tensor();
    sums_[i] = at::Tensor();
  }
}

// Sum of squares per tensor in float64, added in the order of the parameters.
double Optimizer::gradient_norm() {
  std::vector<at::Tensor> norms;
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (gradient(i).defined())
      norms.push_back(at::linalg_vector_norm(gradient(i), 2, at::OptionalIntArrayRef(), false, at::kDouble));
  if (norms.empty()) return 0.0;
  const at::Tensor all = at::stack(norms).cpu();
  double square = 0;
  for (int64_t i = 0; i < all.numel(); ++i) {
    const double n = all.const_data_ptr<double>()[i];
    square += n * n;
  }
  return std::sqrt(square);
}

StepReport Optimizer::step() {
  const at::NoGradGuard no_grad;
  accumulate();
  std::vector<at::Tensor> masters, gradients, means, squares, counts;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& g = gradient(i);
    if (!g.defined()) continue;  // took no part in the loss: left alone, decay included
    group_->all_reduce_sum(g);
    masters.push_back(masters_[i]);
    gradients.push_back(g);
    means.push_back(exp_avg_[i]);
    squares.push_back(exp_avg_sq_[i]);
  }
  StepReport report;
  report.lr = lr();
  report.grad_norm = gradient_norm();
  if (!std::isfinite(report.grad_norm)) {
    for (size_t i = 0; i < parameters_.size() && report.first_bad.empty(); ++i)
      if (gradient(i).defined() && !at::isfinite(gradient(i)).all().item<bool>())
        report.first_bad = parameters_[i].first;
    if (report.first_bad.empty()) report.first_bad = "(the norm overflows)";
    skip();
    return report;
  }
  if (config_.grad_clip && report.grad_norm > *config_.grad_clip) {
    const double scale = *config_.grad_clip / (report.grad_norm + 1e-6);
    for (at::Tensor& g : gradients) g.mul_(scale);
  }
  ++steps_;
  if (!masters.empty()) {
    const at::Tensor count = at::full({}, static_cast<double>(steps_), gradients.front().options());
    counts.assign(masters.size(), count);
    at::_fused_adamw_(masters, gradients, means, squares, {}, counts, report.lr, config_.beta1, config_.beta2,
                      config_.weight_decay, config_.eps, /*amsgrad=*/false, /*maximize=*/false);
  }
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (parameters_[i].second.scalar_type() != at::kFloat && gradient(i).defined())
      parameters_[i].second.copy_(masters_[i]);
  ++attempts_;
  skipped_in_a_row_ = 0;
  report.applied = true;
  zero();
  return report;
}

void Optimizer::skip() {
  zero();
  ++attempts_;
  ++skipped_;
  ++skipped_in_a_row_;
}

double Optimizer::lr() const { return config_.lr * schedule_factor(config_, attempts_, total_steps_); }

model::NamedTensors Optimizer::masters() const {
  model::NamedTensors out;
  for (size_t i = 0; i < parameters_.size(); ++i)
    out.emplace_back(parameters_[i].first, masters_[i].detach());
  return out;
}

model::NamedTensors Optimizer::state_tensors() const {
  model::NamedTensors out;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, p] = parameters_[i];
    out.emplace_back("exp_avg." + name, exp_avg_[i]);
    out.emplace_back("exp_avg_sq." + name, exp_avg_sq_[i]);
    if (p.scalar_type() != at::kFloat) out.emplace_back("master." + name, masters_[i]);
  }
  return out;
}

core::Json Optimizer::state() const {
  return {{"steps", steps_},
          {"attempts", attempts_},
          {"skipped", skipped_},
          {"skipped_in_a_row", skipped_in_a_row_}};
}

namespace {

int64_t counter(const core::Json& state, const char* name) {
  const auto it = state.find(name);
  PAN_CHECK(it != state.end() && it->is_number_integer() && it->get<int64_t>() >= 0, kData,
            "not the counters of an optimizer")
      .pointer(std::string("/") + name)
      .expected("an integer >= 0");
  return it->get<int64_t>();
}

std::string describe(const at::Tensor& t) {
  std::string out = std::string(c10::toString(t.scalar_type())) + " [";
  for (int64_t i = 0; i < t.dim(); ++i) out += (i ? ", " : "") + std::to_string(t.size(i));
  return out + "]";
}

// Every wanted tensor is there with its shape and type, and nothing else is.
std::map<std::string, at::Tensor> match(const model::NamedTensors& wanted, const model::NamedTensors& given) {
  std::map<std::string, at::Tensor> found(given.begin(), given.end());
  std::string missing, unexpected;
  for (const auto& [name, t] : wanted)
    if (!found.count(name)) missing += (missing.empty() ? "" : ", ") + name;
  std::map<std::string, at::Tensor> names(wanted.begin(), wanted.end());
  for (const auto& [name, t] : given)
    if (!names.count(name)) unexpected += (unexpected.empty() ? "" : ", ") + name;
  PAN_CHECK(missing.empty() && unexpected.empty() && found.size() == given.size(), kData,
            "the optimizer state is not that of this model")
      .expected("exp_avg, exp_avg_sq (and master for bfloat16) of each parameter, once")
      .got((missing.empty() ? "" : "missing: " + missing + "; ") +
           (unexpected.empty() ? "" : "unexpected: " + unexpected));
  for (const auto& [name, t] : wanted)
    PAN_CHECK(found[name].sizes() == t.sizes() && found[name].scalar_type() == t.scalar_type(), kData,
              "a tensor of the optimizer state does not fit this model")
        .pointer(name)
        .expected(describe(t))
        .got(describe(found[name]));
  return found;
}

}  // namespace

void Optimizer::load(const core::Json& state, const model::NamedTensors& tensors) {
  const at::NoGradGuard no_grad;
  const int64_t steps = counter(state, "steps"), attempts = counter(state, "attempts"),
                skipped = counter(state, "skipped"), in_a_row = counter(state, "skipped_in_a_row");
  const model::NamedTensors mine = state_tensors();
  const auto found = match(mine, tensors);  // before anything is changed
  for (const auto& [name, t] : mine) at::Tensor(t).copy_(found.at(name));
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (parameters_[i].second.scalar_type() != at::kFloat) parameters_[i].second.copy_(masters_[i]);
  steps_ = steps, attempts_ = attempts, skipped_ = skipped, skipped_in_a_row_ = in_a_row;
  zero();
}

}  // namespace pan::rl
