#include "rl/plan.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"

namespace pan::rl {

std::vector<MicroBatch> UpdatePlan::scoring() const {
  std::vector<MicroBatch> out;
  if (epochs.empty()) return out;
  for (const Minibatch& m : epochs.front()) out.insert(out.end(), m.begin(), m.end());
  return out;
}

int64_t UpdatePlan::num_steps() const {
  int64_t steps = 0;
  for (const EpochPlan& e : epochs) steps += static_cast<int64_t>(e.size());
  return steps;
}

Minibatch cut_micro_batches(const std::vector<TrainSequence>& sequences, const std::vector<int64_t>& order,
                            int64_t tokens) {
  Minibatch out;
  int64_t filled = 0;
  for (int64_t i : order) {
    const auto length = static_cast<int64_t>(sequences[static_cast<size_t>(i)].tokens.size());
    if (out.empty() || filled + length > tokens) {
      out.emplace_back();
      filled = 0;
    }
    out.back().push_back(i);
    filled += length;
  }
  return out;
}

UpdatePlan plan_update(const std::vector<TrainSequence>& sequences, const PpoConfig& ppo, uint64_t seed,
                       int64_t iteration, bool partial) {
  const auto n = static_cast<int64_t>(sequences.size());
  PAN_CHECK(n > 0 && (partial || n % ppo.minibatch_size == 0), kConfig,
            "the sequences of an iteration do not divide into minibatches")
      .pointer("/ppo/minibatch_size")
      .expected("a divisor of " + std::to_string(n))
      .got(std::to_string(ppo.minibatch_size) + " (remainder " + std::to_string(n % ppo.minibatch_size) +
           ")");
  UpdatePlan plan;
  for (int64_t epoch = 0; epoch < ppo.epochs; ++epoch) {
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), int64_t{0});
    core::rng::Stream stream({seed, core::rng::Purpose::kShuffle, static_cast<uint64_t>(iteration),
                              kPlanStream + static_cast<uint64_t>(epoch)});
    stream.shuffle(order);
    EpochPlan& minibatches = plan.epochs.emplace_back();
    for (int64_t begin = 0; begin < n; begin += ppo.minibatch_size)
      minibatches.push_back(cut_micro_batches(
          sequences, {order.begin() + begin, order.begin() + std::min(n, begin + ppo.minibatch_size)},
          ppo.micro_batch_tokens));
  }
  return plan;
}

}  // namespace pan::rl
