#include "rl/loss.h"

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "reference.h"
#include "rl/kl.h"

namespace pan::rl {
namespace {

Aggregation aggregation_of(const std::string& name) {
  if (name == "token-mean") return Aggregation::kTokenMean;
  if (name == "seq-mean-token-sum") return Aggregation::kSeqMeanTokenSum;
  return name == "seq-mean-token-mean" ? Aggregation::kSeqMeanTokenMean : Aggregation::kSeqMeanTokenSumNorm;
}

std::vector<int64_t> lengths() { return reference()["batch"]["lengths"].get<std::vector<int64_t>>(); }
std::vector<uint8_t> used() { return reference()["loss"]["used"].get<std::vector<uint8_t>>(); }

at::Tensor weights_of(const std::string& aggregation) {
  return token_weights(lengths(), used(), count_step(lengths(), used()), aggregation_of(aggregation),
                       reference()["batch"]["limit"].get<int64_t>());
}

PpoConfig ppo_of(const core::Json& c) {
  PpoConfig ppo;
  ppo.policy_loss = c["kind"] == "clip"   ? PolicyLoss::kClip
                    : c["kind"] == "gspo" ? PolicyLoss::kGspo
                                          : PolicyLoss::kCispo;
  ppo.clip_low = c["clip_low"].get<double>();
  ppo.clip_high = c["clip_high"].get<double>();
  ppo.dual_clip = c["dual_clip"].is_null() ? std::nullopt : std::optional(c["dual_clip"].get<double>());
  return ppo;
}

TEST(PolicyLoss, MatchesTheReferenceInFloat64AndFloat32) {
  const core::Json& l = reference()["loss"];
  const std::vector<int64_t> offsets = offsets_of(lengths());
  for (const core::Json& c : l["policy"])
    for (at::ScalarType type : {at::kDouble, at::kFloat}) {
      const std::string name = c["kind"].dump() + c["aggregation"].dump() + c10::toString(type);
      const at::Tensor x = float64(l["new"]).to(type).requires_grad_(true);
      const at::Tensor importance =
          c["importance"].get<bool>() ? float64(l["importance"]).to(type) : at::Tensor();
      const PolicyLossResult r =
          policy_loss({x, float64(l["old"]).to(type), float64(l["advantages"]).to(type),
                       weights_of(c["aggregation"].get<std::string>()), offsets, importance},
                      ppo_of(c));
      r.loss.backward();
      const at::Tensor expected = float64(c["gradient"]);
      const double loss = c["loss"].get<double>();
      EXPECT_NEAR(r.loss.item<double>(), loss, 1e-6 * std::max(1.0, std::abs(loss))) << name;
      expect_close(x.grad() / expected.abs().max(), expected / expected.abs().max(), 2e-6, name);
      EXPECT_EQ(r.clipped.item<double>(), c["clipped"].get<double>()) << name;
      EXPECT_EQ(r.clipped_lower.item<double>(), c["clipped_lower"].get<double>()) << name;
      EXPECT_NEAR(r.kl_sum.item<double>(), l["stats"]["kl"].get<double>(), 1e-4) << name;
      EXPECT_NEAR(r.k3_sum.item<double>() / l["stats"]["k3"].get<double>(), 1, 1e-5) << name;
    }
}

TEST(ImportanceWeights, MatchTheReference) {
  const core::Json& r = reference()["importance"];
  for (const core::Json& c : r["cases"])
    for (at::ScalarType type : {at::kDouble, at::kFloat})
      expect_close(importance_weights(float64(r["trainer"]).to(type), float64(r["sampler"]).to(type),
                                      c["cap"].get<double>()),
                   float64(c["weights"]), type == at::kDouble ? 1e-12 : 1e-6, "cap " + c["cap"].dump());
}

TEST(ValueLoss, MatchesTheReference) {
  const core::Json& l = reference()["loss"];
  for (const core::Json& c : l["value"]) {
    const at::Tensor v = float64(l["values"]).requires_grad_(true);
    const auto clip = c["clip"].is_null() ? std::nullopt : std::optional(c["clip"].get<double>());
    const ValueLossResult r = value_loss(v, float64(l["old_values"]), float64(l["returns"]),
                                         weights_of(c["aggregation"].get<std::string>()), clip);
    r.loss.backward();
    EXPECT_NEAR(r.loss.item<double>(), c["loss"].get<double>(), 1e-6);
    expect_close(v.grad(), float64(c["gradient"]), 1e-6, "value gradient");
    EXPECT_EQ(r.clipped.item<double>(), c["clipped"].get<double>());
  }
}

// Central differences in float64 against autograd, away from kinks (random inputs hit none within the step).
void expect_gradient(const at::Tensor& x0, const std::function<at::Tensor(const at::Tensor&)>& f,
                     const char* what) {
  const at::Tensor x = x0.clone().requires_grad_(true);
  f(x).backward();
  const double h = 1e-6;
  at::Tensor numeric = at::zeros_like(x0);
  for (int64_t i = 0; i < x0.numel(); ++i) {
    at::Tensor up = x0.clone(), down = x0.clone();
    up[i] += h;
    down[i] -= h;
    numeric[i] = (f(up) - f(down)) / (2 * h);
  }
  expect_close(x.grad(), numeric, 1e-7, what);
}

// gspo and cispo replace a gradient on purpose (detached parts), so differences say nothing about them.
TEST(PolicyLoss, GradientIsThatOfFiniteDifferences) {
  const core::Json& l = reference()["loss"];
  const std::vector<int64_t> offsets = offsets_of(lengths());
  PpoConfig ppo;
  ppo.clip_high = 0.28;
  const at::Tensor w = weights_of("token-mean").to(at::kDouble);
  const at::Tensor x = float64(l["old"]) + 0.4 * (float64(l["new"]) - float64(l["old"])).clamp(-2, 2);
  expect_gradient(
      x,
      [&](const at::Tensor& v) {
        return policy_loss({v, float64(l["old"]), float64(l["advantages"]), w, offsets, {}}, ppo).loss;
      },
      "clipped policy loss");
}

TEST(ValueLoss, GradientIsThatOfFiniteDifferences) {
  const core::Json& l = reference()["loss"];
  expect_gradient(
      float64(l["values"]),
      [&](const at::Tensor& v) {
        return value_loss(v, float64(l["old_values"]), float64(l["returns"]),
                          weights_of("seq-mean-token-sum").to(at::kDouble), 0.5)
            .loss;
      },
      "clipped value loss");
}

TEST(Kl, EstimatorsMatchTheReferenceAndTheirGradientsFiniteDifferences) {
  const core::Json& k = reference()["kl"];
  const at::Tensor p = float64(k["p"]), q = float64(k["q"]);
  const std::vector<std::pair<std::string, KlEstimator>> kinds = {{"k1", KlEstimator::kK1},
                                                                  {"k2", KlEstimator::kK2},
                                                                  {"k3", KlEstimator::kK3},
                                                                  {"abs", KlEstimator::kAbs}};
  for (const auto& [name, kind] : kinds) {
    const at::Tensor expected = float64(k["expected"][name]);
    expect_close(kl_tokens(p, q, kind), expected, 1e-12, name);
    for (int64_t i = 0; i < p.numel(); ++i)
      EXPECT_NEAR(kl_token(p[i].item<double>(), q[i].item<double>(), kind), expected[i].item<double>(), 1e-9)
          << name;
    // x = 0 is a kink of abs; the entries beyond the clamps of k3 are flat.
    const at::Tensor smooth = p.index_select(0, at::tensor(std::vector<int64_t>{0, 1, 3, 6}));
    const at::Tensor other = q.index_select(0, at::tensor(std::vector<int64_t>{0, 1, 3, 6}));
    expect_gradient(
        smooth, [&](const at::Tensor& v) { return kl_tokens(v, other, kind).sum(); }, name.c_str());
  }
}

TEST(KlCoefficient, MovesTowardsTheTargetAndResumesExactly) {
  KlConfig config;
  config.coefficient = 0.2;
  config.controller = KlController::kAdaptive;
  config.target = 0.1;
  config.horizon = 1000;
  KlCoefficient k(config);
  k.update(0.5, 100);  // error clipped to 0.2
  EXPECT_DOUBLE_EQ(k.value(), 0.2 * 1.02);
  k.update(0.09, 50);
  EXPECT_DOUBLE_EQ(k.value(), 0.2 * 1.02 * (1 + (0.09 / 0.1 - 1) * 0.05));
  KlCoefficient other(config);
  other.load(core::parse_json(core::dump_json(k.state()), "state"));
  EXPECT_EQ(other.value(), k.value());
  EXPECT_THROW(other.load(core::parse_json(R"({"value": -1})", "state")), core::Error);
  config.controller = KlController::kFixed;
  KlCoefficient fixed(config);
  fixed.update(5, 100);
  EXPECT_EQ(fixed.value(), 0.2);
}

TEST(TokenWeights, NothingToTrainGivesZeros) {
  const std::vector<int64_t> l = {3, 0, 2};
  const std::vector<uint8_t> none = {0, 0, 0};
  const StepCounts counts = count_step(l, none);
  EXPECT_EQ(counts.tokens, 0);
  for (auto a : {Aggregation::kTokenMean, Aggregation::kSeqMeanTokenMean})
    EXPECT_TRUE(same_bits(token_weights(l, none, counts, a, 7), at::zeros({5}, at::kFloat)));
  const std::vector<uint8_t> all = {1, 1, 1};
  EXPECT_EQ(count_step(l, all).sequences, 2);  // an empty response is no sequence
}

}  // namespace
}  // namespace pan::rl
