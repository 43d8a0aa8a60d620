#include "tasks/mix/task.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/rng.h"

namespace pan::tasks::mix {
namespace {

constexpr int64_t kEndlessEval = 500;     // of a part whose eval split has no end
constexpr uint64_t kFirstStream = 0x317;  // keeps these shuffles apart from those of other prompts

// Settings of a part are named as they stand in the whole configuration.
core::Error of_part(const core::Error& error, size_t part) {
  core::Error e = error;
  const std::string own = error.pointer_text(), prefix = "/task/parts/" + std::to_string(part);
  if (own.rfind("/task/", 0) == 0) e.pointer(prefix + own.substr(5));
  return e;
}

struct Place {
  size_t part = 0;
  int64_t index = 0;  // of the part's own order
};

class Mix : public Task {
 public:
  Mix(const MixConfig& config, const MakeTask& make) : seed_(static_cast<uint64_t>(config.seed)) {
    double sum = 0;
    for (const MixPart& part : parts_of(config)) sum += part.weight;
    for (const MixPart& part : parts_of(config)) {
      const size_t i = parts_.size();
      try {
        parts_.push_back({.label = part.label, .share = part.weight / sum, .task = make(part.config)});
      } catch (const core::Error& error) {
        throw of_part(error, i);
      }
    }
    given_.resize(parts_.size());
  }

  std::string name() const override { return "mix"; }

  int64_t size(Split split) const override {
    if (split == Split::kEval) return static_cast<int64_t>(eval_places().size());
    for (size_t i = 0; i < parts_.size(); ++i)
      PAN_CHECK(part_size(i, split) != 0, kData, "the training split of a task of the mix is empty")
          .where("task " + parts_[i].label)
          .pointer("/task/parts/" + std::to_string(i))
          .expected("one problem or more")
          .got("0")
          .remedy("Check the paths and sizes of that part");
    return -1;
  }

  Problem problem(Split split, int64_t index) const override {
    PAN_CHECK(index >= 0 && (split == Split::kTrain || index < size(split)), kInternal,
              "problem index out of range")
        .expected(split == Split::kTrain ? "not negative" : "below " + std::to_string(size(split)))
        .got(std::to_string(index));
    const Place place =
        split == Split::kEval ? eval_places()[static_cast<size_t>(index)] : train_place(index);
    const Part& part = parts_[place.part];
    Problem p;
    try {
      p = part.task->problem(split, place.index);
    } catch (const core::Error& error) {
      throw of_part(error, place.part);
    }
    p.id = part.label + ":" + p.id;
    p.group = part.label + (p.group.empty() ? "" : "/" + p.group);
    return p;
  }

  Verdict judge(const Problem& problem, const std::string& answer) const override {
    const std::string label = label_of(problem);
    for (const Part& part : parts_)
      if (part.label == label) return part.task->judge(problem, answer);
    return {};  // a problem of another task
  }

  std::vector<std::string> stop_strings() const override {
    std::vector<std::string> all;
    for (const Part& part : parts_)
      for (const std::string& text : part.task->stop_strings())
        if (std::find(all.begin(), all.end(), text) == all.end()) all.push_back(text);
    return all;
  }

 private:
  struct Part {
    std::string label;
    double share = 0;
    std::shared_ptr<const Task> task;
  };
  struct Epoch {
    int64_t number = -1;
    std::vector<int64_t> order = {};
  };
  // What has been given out of a part's train split; `epochs` holds the two last used.
  struct Given {
    int64_t count = 0;
    std::array<Epoch, 2> epochs = {};
  };

  int64_t part_size(size_t part, Split split) const {
    try {
      return parts_[part].task->size(split);
    } catch (const core::Error& error) {
      throw of_part(error, part);
    }
  }

  Place train_place(int64_t index) const {
    const std::lock_guard lock(mutex_);
    while (static_cast<int64_t>(schedule_.size()) <= index) {
      const auto n = static_cast<double>(schedule_.size() + 1);
      size_t next = 0;
      double furthest = 0;
      for (size_t i = 0; i < parts_.size(); ++i) {
        const double behind = parts_[i].share * n - static_cast<double>(given_[i].count);
        if (i == 0 || behind > furthest) furthest = behind, next = i;
      }
      schedule_.push_back({next, given_[next].count++});
    }
    const Place drawn = schedule_[static_cast<size_t>(index)];
    const int64_t size = part_size(drawn.part, Split::kTrain);
    if (size < 0) return drawn;
    return {drawn.part,
            order_of(drawn.part, drawn.index / size, size)[static_cast<size_t>(drawn.index % size)]};
  }

  const std::vector<int64_t>& order_of(size_t part, int64_t number, int64_t size) const {
    Epoch& epoch = given_[part].epochs[static_cast<size_t>(number % 2)];
    if (epoch.number != number) {
      epoch.order.resize(static_cast<size_t>(size));
      std::iota(epoch.order.begin(), epoch.order.end(), int64_t{0});
      core::rng::Stream(
          {seed_, core::rng::Purpose::kShuffle, static_cast<uint64_t>(number), kFirstStream + part})
          .shuffle(epoch.order);
      epoch.number = number;
    }
    return epoch.order;
  }

  const std::vector<Place>& eval_places() const {
    std::call_once(eval_once_, [&] {
      std::vector<int64_t> sizes;
      int64_t longest = 0;
      for (size_t i = 0; i < parts_.size(); ++i) {
        const int64_t size = part_size(i, Split::kEval);
        sizes.push_back(size < 0 ? kEndlessEval : size);
        longest = std::max(longest, sizes.back());
      }
      for (int64_t round = 0; round < longest; ++round)
        for (size_t i = 0; i < parts_.size(); ++i)
          if (round < sizes[i]) eval_places_.push_back({i, round});
    });
    return eval_places_;
  }

  uint64_t seed_;
  std::vector<Part> parts_;
  mutable std::mutex mutex_;
  mutable std::vector<Place> schedule_;  // of the train split as far as it has been asked for
  mutable std::vector<Given> given_;     // by part
  mutable std::once_flag eval_once_;
  mutable std::vector<Place> eval_places_;
};

}  // namespace

std::string label_of(const Problem& problem) { return problem.id.substr(0, problem.id.find(':')); }

std::shared_ptr<const Task> make_task(const MixConfig& config, const MakeTask& make) {
  return std::make_shared<Mix>(config, make);
}

}  // namespace pan::tasks::mix
