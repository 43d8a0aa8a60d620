#include "train/prompts.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/rng.h"

namespace pan::train {

PromptSource::PromptSource(const tasks::Task& task, EncodePrompt encode, PromptOptions options)
    : task_(task), encode_(std::move(encode)), options_(options), size_(task.size(tasks::Split::kTrain)) {
  PAN_CHECK(size_ != 0, kData, "the training split of task " + task.name() + " is empty")
      .pointer("/task")
      .expected("one problem or more")
      .got("0")
      .remedy("Check the task's paths and sizes");
}

int64_t PromptSource::index_at(int64_t position) {
  if (size_ < 0) return position;
  const int64_t epoch = position / size_;
  if (epoch != epoch_) {
    order_.resize(static_cast<size_t>(size_));
    std::iota(order_.begin(), order_.end(), int64_t{0});

    core::rng::Stream stream({options_.seed, core::rng::Purpose::kShuffle, static_cast<uint64_t>(epoch), 0});
    stream.shuffle(order_);
    epoch_ = epoch;
  }
  return order_[static_cast<size_t>(position % size_)];
}

std::vector<Prompt> PromptSource::next(int64_t n) {
  std::vector<Prompt> prompts;
  int64_t skipped_in_a_row = 0;
  while (static_cast<int64_t>(prompts.size()) < n) {
    Prompt prompt;
    prompt.problem = task_.problem(tasks::Split::kTrain, index_at(position_++));
    prompt.tokens = encode_(prompt.problem);
    const auto length = static_cast<int64_t>(prompt.tokens.size());
    if (length <= options_.max_prompt_tokens) {
      skipped_in_a_row = 0;
      prompts.push_back(std::move(prompt));
      continue;
    }
    PAN_CHECK(options_.overlong == OverlongPrompts::kSkip, kData, "a prompt is too long")
        .where(prompt.problem.id)
        .expected("at most train.max_prompt_tokens = " + std::to_string(options_.max_prompt_tokens) +
                  " tokens")
        .got(std::to_string(length))
        .remedy("Raise train.max_prompt_tokens, or set train.overlong_prompts to skip");
    ++num_skipped_;
    ++skipped_in_a_row;
    PAN_CHECK(skipped_in_a_row < (size_ < 0 ? 10000 : size_), kData, "every prompt of the task is too long")
        .where("task " + task_.name())
        .expected("at most train.max_prompt_tokens = " + std::to_string(options_.max_prompt_tokens) +
                  " tokens")
        .got("more, " + std::to_string(skipped_in_a_row) + " times in a row")
        .remedy("Raise train.max_prompt_tokens");
  }
  return prompts;
}

int64_t PromptSource::check(int64_t at_least, int64_t at_most, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  const int64_t position = position_, skipped = num_skipped_;
  if (size_ > 0) at_most = std::min(at_most, size_);
  int64_t done = 0;
  while (done < at_most && (done < at_least || Clock::now() < end)) {
    next(1);
    ++done;
  }
  set_position(position);
  set_num_skipped(skipped);
  return done;
}

}  // namespace pan::train
