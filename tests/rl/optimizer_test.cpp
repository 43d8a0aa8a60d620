#include "rl/optimizer.h"

#include <ATen/core/grad_mode.h>

#include "core/error.h"
#include "reference.h"

namespace pan::rl {
namespace {

const core::Json& adamw() { return reference()["adamw"]; }

OptimizerConfig hyper() {
  const core::Json& h = adamw()["hyper"];
  OptimizerConfig c;
  c.lr = h["lr"].get<double>();
  c.beta1 = h["beta1"].get<double>();
  c.beta2 = h["beta2"].get<double>();
  c.eps = h["eps"].get<double>();
  c.weight_decay = h["weight_decay"].get<double>();
  c.grad_clip = h["grad_clip"].get<double>();
  return c;
}

model::NamedTensors parameters(const char* key, at::ScalarType type) {
  const at::Tensor all = floats(adamw()[key]);
  model::NamedTensors out;
  int64_t begin = 0;
  for (const core::Json& s : adamw()["shapes"]) {
    const auto shape = s.get<std::vector<int64_t>>();
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    out.emplace_back("p" + std::to_string(out.size()),
                     all.slice(0, begin, begin + n).reshape(shape).to(type).clone());
    begin += n;
  }
  return out;
}

at::Tensor flat(const model::NamedTensors& tensors) {
  std::vector<at::Tensor> parts;
  for (const auto& [name, t] : tensors) parts.push_back(t.detach().to(at::kFloat).reshape(-1));
  return at::cat(parts);
}

// loss = sum <p, g>, whose gradient is g in the parameter's type.
void add_gradient(const at::Tensor& p, const core::Json& g) {
  (p * floats(g).reshape(p.sizes()).to(p.scalar_type())).sum().backward();
}

// One step of the fixture; bfloat16 gradients come in two micro-batches.
StepReport fixture_step(Optimizer& opt, size_t step, bool bf16) {
  const size_t n = opt.parameters().size();
  for (size_t half = 0; half < (bf16 ? 2u : 1u); ++half) {
    for (size_t i = 0; i < n; ++i)
      add_gradient(opt.parameters()[i].second,
                   bf16 ? adamw()["halves"][step * n + i][half] : adamw()["gradients"][step * n + i]);
    opt.accumulate();
  }
  return opt.step();
}

TEST(Optimizer, FollowsTorchAdamWOverTwentySteps) {
  Optimizer opt(parameters("start", at::kFloat), hyper(), 0);
  for (size_t step = 0; step < 20; ++step) {
    const StepReport r = fixture_step(opt, step, false);
    EXPECT_TRUE(r.applied);
    EXPECT_NEAR(r.grad_norm, adamw()["norms"][step].get<double>(), 1e-5);
  }
  expect_close(flat(opt.parameters()), float64(adamw()["end"]), 2e-6, "parameters after 20 steps");
}

TEST(Optimizer, KeepsFloat32MastersOfBfloat16Parameters) {
  Optimizer opt(parameters("start_bf16", at::kBFloat16), hyper(), 0);
  for (size_t step = 0; step < 20; ++step)
    EXPECT_NEAR(fixture_step(opt, step, true).grad_norm, adamw()["norms_bf16"][step].get<double>(), 1e-5);
  expect_close(flat(opt.masters()), float64(adamw()["masters_bf16"]), 2e-6, "masters after 20 steps");
  for (size_t i = 0; i < opt.parameters().size(); ++i)
    EXPECT_TRUE(same_bits(opt.parameters()[i].second.detach(), opt.masters()[i].second.to(at::kBFloat16)));
  // A value next to a rounding boundary may fall on the other side: at most one of 23.
  const at::Tensor differ = flat(opt.parameters()).to(at::kDouble).ne(float64(adamw()["parameters_bf16"]));
  EXPECT_LE(differ.sum().item<int64_t>(), 1);
}

TEST(Optimizer, UpdatesInPlace) {
  model::NamedTensors p = parameters("start", at::kBFloat16);
  const void* before = p[0].second.data_ptr();
  Optimizer opt(p, hyper(), 0);
  fixture_step(opt, 0, true);
  EXPECT_EQ(opt.parameters()[0].second.data_ptr(), before);
  EXPECT_EQ(p[0].second.data_ptr(), before);
}

TEST(Optimizer, ResumesBitForBit) {
  OptimizerConfig c = hyper();
  c.schedule = Schedule::kCosine;
  c.warmup_steps = 3;
  for (bool bf16 : {false, true}) {
    const at::ScalarType type = bf16 ? at::kBFloat16 : at::kFloat;
    const char* start = bf16 ? "start_bf16" : "start";
    Optimizer whole(parameters(start, type), c, 20);
    for (size_t step = 0; step < 20; ++step) fixture_step(whole, step, bf16);

    Optimizer first(parameters(start, type), c, 20);
    for (size_t step = 0; step < 9; ++step) fixture_step(first, step, bf16);
    const std::string json = core::dump_json(first.state());
    model::NamedTensors saved;
    for (const auto& [name, t] : first.state_tensors()) saved.emplace_back(name, t.detach().clone());
    model::NamedTensors weights;  // what the model folder holds
    for (const auto& [name, p] : first.parameters()) weights.emplace_back(name, p.detach().clone());

    Optimizer second(weights, c, 20);
    second.load(core::parse_json(json, "state"), saved);
    for (size_t step = 9; step < 20; ++step) fixture_step(second, step, bf16);
    EXPECT_TRUE(same_bits(flat(second.parameters()), flat(whole.parameters()))) << bf16;
    EXPECT_TRUE(same_bits(flat(second.masters()), flat(whole.masters()))) << bf16;
    EXPECT_TRUE(same_bits(flat(second.state_tensors()), flat(whole.state_tensors()))) << bf16;
    EXPECT_EQ(second.state(), whole.state());
  }
}

TEST(Optimizer, LoadRefusesAnotherModelsState) {
  Optimizer opt(parameters("start", at::kBFloat16), hyper(), 0);
  const core::Json state = opt.state();
  const at::Tensor before = flat(opt.state_tensors()).clone();
  const auto refuses = [&](const core::Json& json, const model::NamedTensors& tensors,
                           const std::string& words) {
    try {
      opt.load(json, tensors);
      ADD_FAILURE() << "accepted: " << words;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::kData);
      EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << e.what();
    }
    EXPECT_TRUE(same_bits(before, flat(opt.state_tensors())));  // nothing half loaded
  };
  model::NamedTensors t = opt.state_tensors();
  t.pop_back();
  refuses(state, t, "missing: master.p2");
  t = opt.state_tensors();
  t.emplace_back("exp_avg.other", at::ones({1}));
  refuses(state, t, "unexpected: exp_avg.other");
  t = opt.state_tensors();
  t[0].second = at::ones({4, 3});
  refuses(state, t, "exp_avg.p0");
  t = opt.state_tensors();
  t[0].second = at::ones({3, 4}, at::kBFloat16);
  refuses(state, t, "BFloat16");
  t = opt.state_tensors();
  t.push_back(t.front());
  refuses(state, t, "once");
  core::Json broken = state;
  broken.erase("attempts");
  refuses(broken, opt.state_tensors(), "/attempts");
}

TEST(Optimizer, SkipsANonFiniteGradientAndNamesTheFirst) {
  Optimizer opt(parameters("start", at::kFloat), hyper(), 0);
  fixture_step(opt, 0, false);
  const at::Tensor before = flat(opt.parameters()).clone(), moments = flat(opt.state_tensors()).clone();
  for (int64_t bad = 1; bad <= 2; ++bad) {
    for (size_t i = 0; i < 3; ++i) add_gradient(opt.parameters()[i].second, adamw()["gradients"][i]);
    at::Tensor p = opt.parameters()[1].second;
    (p * (bad == 1 ? NAN : INFINITY)).sum().backward();
    const StepReport r = opt.step();
    EXPECT_FALSE(r.applied);
    EXPECT_EQ(r.first_bad, "p1");
    EXPECT_EQ(opt.skipped_in_a_row(), bad);
  }
  EXPECT_TRUE(same_bits(before, flat(opt.parameters())));
  EXPECT_TRUE(same_bits(moments, flat(opt.state_tensors())));
  EXPECT_TRUE(fixture_step(opt, 1, false).applied);
  EXPECT_EQ(opt.skipped_in_a_row(), 0);
  EXPECT_EQ(opt.skipped(), 2);
  EXPECT_EQ(opt.steps(), 2);
}

TEST(Optimizer, LeavesParametersWithoutAGradientAlone) {
  Optimizer opt(parameters("start", at::kFloat), hyper(), 0);
  const at::Tensor before = opt.parameters()[2].second.detach().clone();
  add_gradient(opt.parameters()[0].second, adamw()["gradients"][0]);
  EXPECT_TRUE(opt.step().applied);
  EXPECT_TRUE(same_bits(before, opt.parameters()[2].second.detach()));
}

TEST(Schedule, MatchesTheReference) {
  for (const core::Json& s : reference()["schedules"]) {
    OptimizerConfig c;
    c.schedule = s["kind"] == "constant" ? Schedule::kConstant
                 : s["kind"] == "linear" ? Schedule::kLinear
                                         : Schedule::kCosine;
    c.warmup_steps = s["warmup"].get<int64_t>();
    c.min_lr_ratio = s["least"].get<double>();
    const std::vector<double> expected = doubles(s["factors"]);
    for (size_t n = 0; n < expected.size(); ++n)
      EXPECT_NEAR(schedule_factor(c, static_cast<int64_t>(n), s["total"].get<int64_t>()), expected[n], 1e-12)
          << s["kind"] << " at step " << n;
  }
}

}  // namespace
}  // namespace pan::rl
