#include "tasks/few_shot.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"

namespace pan::tasks {
namespace {

constexpr int64_t kEndlessPool = 1000000;  // examples of an endless split come from its first problems
constexpr uint64_t kMostDraws = 10000;     // of an endless split whose problems repeat
constexpr uint64_t kStream = 0xFE75107;    // keeps these numbers apart from those that shuffle epochs

}  // namespace

// The next of the shuffled problems that is not in the pool yet. False: there is none.
bool FewShot::draw_next(int64_t size, const std::function<Example(int64_t)>& at) const {
  const auto seed = static_cast<uint64_t>(config_.few_shot_seed);
  if (size > 0 && order_.empty()) {
    order_.resize(static_cast<size_t>(size));
    std::iota(order_.begin(), order_.end(), int64_t{0});
    core::rng::Stream({seed, core::rng::Purpose::kShuffle, kStream, 0}).shuffle(order_);
  }
  const uint64_t end = size < 0 ? kMostDraws : static_cast<uint64_t>(size);
  while (drawn_ < end) {
    const uint64_t n = drawn_++;
    const int64_t index =
        size > 0 ? order_[n]
                 : static_cast<int64_t>(core::rng::uniform({seed, core::rng::Purpose::kShuffle, kStream, n}) *
                                        static_cast<double>(kEndlessPool));
    Example example = at(index);
    const auto same = [&](const Example& e) { return e.question == example.question; };
    if (std::any_of(pool_.begin(), pool_.end(), same)) continue;
    pool_.push_back(std::move(example));
    return true;
  }
  return false;
}

std::vector<Example> FewShot::pick(int64_t size, const std::string& asked,
                                   const std::function<Example(int64_t)>& at) const {
  const std::lock_guard lock(mutex_);
  std::vector<Example> shown;
  for (size_t i = 0; static_cast<int64_t>(shown.size()) < config_.few_shot; ++i) {
    PAN_CHECK(i < pool_.size() || draw_next(size, at), kConfig,
              "the train split has too few problems for so many examples")
        .where("task " + task_)
        .pointer("/task/few_shot")
        .expected("at most " + std::to_string(shown.size()) +
                  ": problems that differ from the one asked and from one another")
        .got(std::to_string(config_.few_shot))
        .remedy("Lower task.few_shot");
    if (pool_[i].question != asked) shown.push_back(pool_[i]);
  }
  return shown;
}

std::string few_shot_prompt(const std::string& instructions, const std::vector<Example>& examples,
                            const std::string& question) {
  std::string out = instructions.empty() ? "" : instructions + "\n\n";
  for (const Example& e : examples) out += "Question: " + e.question + "\nAnswer: " + e.answer + "\n\n";
  return out + "Question: " + question + "\nAnswer:";
}

}  // namespace pan::tasks
