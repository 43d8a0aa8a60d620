// Sampling responses to many prompts with continuous batching: finished sequences leave at once, waiting ones
// take their slots, a prompt that several requests share is read once.
//
//   rollout::Generator generator(*decoder, *tokenizer, {.seed = 1, .stop_tokens = {eos}});
//   std::vector<rollout::Sample> samples = generator.run(requests, {.should_stop = interrupted});
//
// A sample depends on (seed, purpose, sample_id), its prompt and the weights, not on what else is generated
// with it, up to the rounding of logits (matrix products of different batch sizes may round differently).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/rng.h"
#include "model/decoder.h"
#include "pan/tokenizer.h"
#include "rollout/rollout_config.h"
#include "rollout/stop.h"

namespace pan::rollout {

struct Request {
  int64_t sample_id = 0;  // global and unique in the run: with the seed it names the random numbers
  std::vector<int64_t> prompt = {};  // token ids, not empty
  core::rng::Purpose purpose = core::rng::Purpose::kSample;
  std::string name = {};  // of the prompt, for error messages ("gsm8k/train/17"); may be empty
};

struct Sample {
  int64_t sample_id = 0;
  std::vector<int64_t> prompt;
  std::vector<int64_t> response;  // at least one token; a stop token included, it is trained on
  std::vector<float> logprobs;   // one per response token: full softmax at the sampling temperature (0: at 1)
  std::vector<float> entropies;  // nat; empty unless asked for
  std::string text;  // decoded response without stop token and stop string; may end inside a UTF-8 character
  FinishReason finish = FinishReason::kLength;
  double cut_mass = 0;  // mean over tokens of the probability that top-k and top-p removed
};

struct GeneratorOptions {
  uint64_t seed = 0;
  std::vector<int64_t> stop_tokens = {};  // union of the model's, the generation config's and the template's
  SamplingConfig sampling = {};           // stop_strings here are all of them: add the task's
  int64_t max_length = 0;                 // prompt + response, token; 0 = the model's context
  bool entropy = false;                   // fill Sample::entropies
};

struct Progress {
  int64_t num_finished = 0, num_requests = 0;
  int64_t num_tokens = 0;  // generated so far, finished or not
  double elapsed_s = 0;
};

struct RunHooks {
  std::function<void(const Progress&)> on_progress = {};  // after every step of the batch
  std::function<bool()> should_stop = {};  // asked between steps; true ends run() with kInterrupted
  // Every token as it is drawn: index of the request, token. Called from the thread of run().
  std::function<void(size_t, int64_t)> on_token = {};
};

// Where the time of the last run() went.
struct GenerateStats {
  int64_t num_prefill_tokens = 0;  // prompt tokens that went through the model
  int64_t num_copied_tokens = 0;   // prompt tokens copied from another slot instead
  int64_t num_new_tokens = 0;      // generated
  int64_t num_steps = 0;           // decode steps
  double prefill_s = 0, decode_s = 0, logits_s = 0, sample_s = 0, total_s = 0;
};

class Generator {
 public:
  // Keeps references: decoder and tokenizer must outlive it. The decoder's weights may change between runs.
  // Errors: kConfig for settings out of range.
  Generator(const model::Decoder& decoder, const tokenizer::Tokenizer& tokenizer, GeneratorOptions options);

  // Samples in the order of the requests. Responses end at a stop rule, at max_new_tokens, or where prompt +
  // response reach max_length (kLength). Nothing of it takes part in autograd. The cache is freed at the end.
  //
  // Errors, naming the request: kData: an empty prompt, one that leaves no room for a token, a token outside
  // the vocabulary; kGuard: logits that are not finite. kInterrupted: should_stop returned true; nothing is
  // kept.
  std::vector<Sample> run(const std::vector<Request>& requests, const RunHooks& hooks = {});

  const GenerateStats& stats() const { return stats_; }
  const GeneratorOptions& options() const { return options_; }

 private:
  const model::Decoder& decoder_;
  const tokenizer::Tokenizer& tokenizer_;
  GeneratorOptions options_;
  GenerateStats stats_;
};

// Peak bytes of a run besides the weights: cache of min(slots, num_requests) sequences of `max_length`
// tokens, one step's logits, activations of one prefill. For memory plans.
int64_t generate_bytes(const model::Arch& arch, at::ScalarType dtype, const SamplingConfig& sampling,
                       int64_t num_requests, int64_t max_length);

}  // namespace pan::rollout
