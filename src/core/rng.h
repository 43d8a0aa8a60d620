// Counter-based random numbers (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011).
//
//   double u = rng::uniform({seed, rng::Purpose::kSample, sample_id, position});
//   rng::Stream s({seed, rng::Purpose::kShuffle, epoch, 0});  s.shuffle(order);
//
// A number depends only on its key, never on what was drawn before, so nothing has to be saved for a resume
// and nothing depends on what else is in a batch.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace pan::core::rng {

// What a number is for; streams of different purposes never collide. Never renumber.
enum class Purpose : uint32_t {
  kSample = 1,     // token sampling: sequence = global sample id, position = response position
  kShuffle = 2,    // order of prompts and minibatches
  kInit = 3,       // fresh parameters
  kTask = 4,       // puzzle generation
  kBootstrap = 5,  // confidence intervals
  kCredit = 6,     // credit: random
  kControl = 7,    // shuffled controls of experiments
  kTest = 8,
  kEval = 9,  // token sampling of evaluations, as kSample
};

struct Key {
  uint64_t seed = 0;
  Purpose purpose = Purpose::kTest;
  uint64_t sequence = 0;
  uint64_t position = 0;
};

// Four independent 32-bit words for (key, block); the primitive under everything else.
std::array<uint32_t, 4> philox(const Key& key, uint32_t block);

// Uniform in [0, 1) with 53 random bits: the first number of the key's stream.
double uniform(const Key& key);

// A sequential reader of one key's numbers.
class Stream {
 public:
  explicit Stream(const Key& key) : key_(key) {}
  uint64_t next_u64();
  double uniform();                // [0, 1)
  double normal();                 // mean 0, variance 1 (Box-Muller)
  uint64_t below(uint64_t bound);  // unbiased in [0, bound); bound > 0

  template <class T>
  void shuffle(std::vector<T>& v) {  // Fisher-Yates
    for (size_t i = v.size(); i > 1; --i) {
      using std::swap;
      swap(v[i - 1], v[below(i)]);
    }
  }

 private:
  Key key_;
  uint32_t block_ = 0;
  int used_ = 2;  // 64-bit halves of words_ already handed out
  std::array<uint32_t, 4> words_{};
};

}  // namespace pan::core::rng
