// A tiny random policy, a sampling loop over it, and the pieces of an iteration; shared by the tests of
// scorer and update.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <functional>
#include <memory>
#include <vector>

#include "core/rng.h"
#include "model/decoder.h"
#include "model/value_model.h"
#include "rl/update.h"
#include "support/tiny_decoder.h"

namespace pan::rl {

inline constexpr int64_t kVocab = 24;
inline constexpr int64_t kEnd = 0;  // end-of-text

inline model::Arch tiny_arch() {
  model::Arch a = pan::testing::tiny_arch(kVocab, 64);
  a.eos_token_ids = {kEnd};
  return a;
}

inline std::unique_ptr<model::Decoder> tiny_decoder(uint64_t seed, at::ScalarType type = at::kFloat) {
  return model::make_decoder(tiny_arch(), {.dtype = type, .device = at::kCPU}, seed);
}

using pan::testing::sharpen;

// Random prompts and responses of uneven lengths, not sampled from any policy.
inline std::vector<TrainSequence> random_sequences(int64_t count, uint64_t seed) {
  std::vector<TrainSequence> out;
  core::rng::Stream s({seed, core::rng::Purpose::kTest, 0, 0});
  for (int64_t i = 0; i < count; ++i) {
    TrainSequence x;
    x.id = i;
    x.group = i / 2;
    x.prompt_length = 1 + static_cast<int64_t>(s.below(4));
    const auto n = static_cast<size_t>(x.prompt_length) + 1 + s.below(12);
    for (size_t t = 0; t < n; ++t) x.tokens.push_back(static_cast<int64_t>(1 + s.below(kVocab - 1)));
    if (i % 3 != 0) x.tokens.back() = kEnd;
    x.truncated = i % 3 == 0;
    out.push_back(std::move(x));
  }
  return out;
}

// Samples `length` tokens after each prompt from the policy at temperature 1 (the whole sequence again for
// each token).
inline void sample(const model::Decoder& policy, std::vector<TrainSequence>& sequences, int64_t length,
                   uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (int64_t step = 0; step < length; ++step) {
    std::vector<std::vector<int64_t>> tokens;
    std::vector<int64_t> last;
    int64_t total = 0;
    for (const TrainSequence& s : sequences) {
      tokens.push_back(s.tokens);
      total += static_cast<int64_t>(s.tokens.size());
      last.push_back(total - 1);
    }
    const at::Tensor hidden = policy.hidden(model::pack(tokens, at::kCPU)).index_select(0, at::tensor(last));
    const at::Tensor cdf = at::linear(hidden, policy.output_weight()).softmax(-1).cumsum(-1).contiguous();
    const float* c = cdf.const_data_ptr<float>();
    for (size_t i = 0; i < sequences.size(); ++i) {
      const double u =
          core::rng::uniform({seed, core::rng::Purpose::kSample, static_cast<uint64_t>(sequences[i].id),
                              static_cast<uint64_t>(step)});
      int64_t token = 0;
      while (token + 1 < kVocab && c[static_cast<int64_t>(i) * kVocab + token] < u) ++token;
      sequences[i].tokens.push_back(token);
    }
  }
}

// Everything one iteration needs, owned.
struct Tiny {
  std::unique_ptr<model::Decoder> policy, reference, critic;
  model::ValueHead head;
  RlConfig config;
  UpdateOptions options;

  explicit Tiny(uint64_t seed, at::ScalarType type = at::kFloat) {
    at::set_num_threads(1);  // so small that a second thread only waits
    policy = tiny_decoder(seed, type);
    sharpen(*policy, 6);
    reference = tiny_decoder(seed + 1, type);
    sharpen(*reference, 6);
    critic = tiny_decoder(seed + 2, type);
    sharpen(*critic, 6);
    head = model::ValueHead::zeros(tiny_arch().hidden_size, at::kCPU);
    config.ppo.minibatch_size = 12;
    options.max_response_tokens = 16;
  }

  Models models() {
    Models m{.policy = policy.get()};
    if (needs_reference(config)) m.reference = reference.get();
    if (needs_critic(config)) m.value_head = &head;
    if (needs_critic(config) && config.critic.mode == CriticMode::kSeparate) m.critic = critic.get();
    return m;
  }
};

struct Iteration {
  UpdatePlan plan;
  ScoredBatch scored;
  Advantages advantages;
};

inline Iteration prepare(Tiny& tiny, const std::vector<TrainSequence>& sequences,
                         const std::vector<double>& rewards, uint64_t seed, int64_t iteration) {
  Iteration it;
  it.plan = plan_update(sequences, tiny.config.ppo, seed, iteration);
  it.scored = Scorer(tiny.models(), {.temperature = tiny.options.temperature, .progress = nullptr})
                  .score(sequences, it.plan.scoring());
  it.advantages = compute_advantages({sequences, it.scored, rewards, {}, {}}, tiny.config,
                                     tiny.config.kl.coefficient, tiny.options.max_response_tokens);
  return it;
}

}  // namespace pan::rl
