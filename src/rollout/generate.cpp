#include "rollout/generate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/stopwatch.h"
#include "model/device.h"
#include "rollout/sampling.h"

namespace pan::rollout {
namespace {

// A distinct prompt. Its keys and values stay in `slot` after a response grew behind them, until another
// prompt takes the slot; while they are there, further samples of the prompt copy them.
struct Prompt {
  const std::vector<int64_t>* tokens = nullptr;
  int64_t num_waiting = 0;  // requests that are not in a slot yet
  int64_t slot = -1;        // -1 = not in the cache
  at::Tensor hidden;        // [C] of the last token, while requests are waiting

  int64_t length() const { return static_cast<int64_t>(tokens->size()); }
};

struct Slot {
  int64_t prompt = -1;  // whose keys it holds
  bool busy = false;
};

// A response being generated.
struct Row {
  size_t request = 0;
  int64_t slot = 0;
  int64_t limit = 0;  // longest response, token
  StopState stop;
  double cut_sum = 0;
};

int64_t context_of(const GeneratorOptions& options, const model::Arch& arch) {
  return options.max_length > 0 ? options.max_length : arch.max_positions;
}

std::string name_of(const Request& r) {
  return r.name.empty() ? "sample " + std::to_string(r.sample_id) : r.name;
}

void check_request(const Request& r, const model::Arch& arch, int64_t context) {
  const auto length = static_cast<int64_t>(r.prompt.size());
  PAN_CHECK(length > 0, kData, "a prompt has no tokens").where(name_of(r));
  PAN_CHECK(length < context, kData, "a prompt leaves no room for a response")
      .where(name_of(r))
      .expected("fewer than " + std::to_string(context) + " tokens, the longest sequence")
      .got(std::to_string(length))
      .remedy("Shorten or skip the prompt, or use a model with a longer context.");
  for (int64_t t : r.prompt)
    PAN_CHECK(t >= 0 && t < arch.vocab_size, kData, "a token of a prompt is not in the model's vocabulary")
        .where(name_of(r))
        .expected("0 to " + std::to_string(arch.vocab_size - 1))
        .got(std::to_string(t))
        .remedy("The tokenizer probably belongs to another model.");
}

// One call of Generator::run.
class Run {
 public:
  Run(const model::Decoder& decoder, const tokenizer::Tokenizer& tokenizer, const GeneratorOptions& options,
      const std::vector<Request>& requests, const RunHooks& hooks, GenerateStats& stats)
      : decoder_(decoder),
        tokenizer_(tokenizer),
        options_(options),
        requests_(requests),
        hooks_(hooks),
        stats_(stats),
        rules_(options.stop_tokens, options.sampling.stop_strings),
        cache_(make_cache()),
        slots_(static_cast<size_t>(cache_.num_slots())),
        samples_(requests.size()) {
    sampler_ = {options.sampling.temperature, options.sampling.top_k, options.sampling.top_p,
                options.entropy};
    find_shared_prompts();
  }

  std::vector<Sample> run() {
    while (next_ < requests_.size() || !rows_.empty()) {
      check_stop();
      if (next_ < requests_.size() && has_free_slot()) {
        admit();
      } else {
        step();
      }
      report();
    }
    return std::move(samples_);
  }

 private:
  model::KvCache make_cache() const {
    const model::Arch& arch = decoder_.arch();
    const int64_t context = context_of(options_, arch);
    int64_t longest = 1;
    for (const Request& r : requests_) {
      check_request(r, arch, context);
      longest = std::max(
          longest, static_cast<int64_t>(r.prompt.size()) + limit_of(r) - 1);  // the last token is never fed
    }
    const int64_t num_slots = std::min(options_.sampling.slots, static_cast<int64_t>(requests_.size()));
    return {arch, num_slots, longest, decoder_.options().dtype, decoder_.options().device};
  }

  int64_t limit_of(const Request& r) const {
    return std::min(options_.sampling.max_new_tokens,
                    context_of(options_, decoder_.arch()) - static_cast<int64_t>(r.prompt.size()));
  }

  void find_shared_prompts() {
    std::map<std::vector<int64_t>, size_t> seen;
    for (const Request& r : requests_) {
      const auto [it, is_new] = seen.emplace(r.prompt, prompts_.size());
      if (is_new) prompts_.emplace_back();
      Prompt& p = prompts_[it->second];
      p.tokens = &r.prompt;
      ++p.num_waiting;
      prompt_of_.push_back(it->second);
    }
  }

  void check_stop() const {
    if (hooks_.should_stop && hooks_.should_stop())
      throw core::Error(core::ErrorKind::kInterrupted, "generation was interrupted")
          .where("while sampling")
          .got("a stop signal")
          .remedy("Nothing was written; start the command again");
  }

  void report() {
    if (!hooks_.on_progress) return;
    hooks_.on_progress(
        {num_finished_, static_cast<int64_t>(requests_.size()), stats_.num_new_tokens, watch_.seconds()});
  }

  bool has_free_slot() const {
    return std::any_of(slots_.begin(), slots_.end(), [](const Slot& s) { return !s.busy; });
  }

  // A free slot, rather one whose prompt nobody is waiting for. -1 = none.
  int64_t take_slot() {
    int64_t best = -1;
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].busy) continue;
      best = static_cast<int64_t>(i);
      if (slots_[i].prompt < 0 || prompts_[static_cast<size_t>(slots_[i].prompt)].num_waiting == 0) break;
    }
    return best;
  }

  void occupy(int64_t slot, int64_t prompt) {
    Slot& s = slots_[static_cast<size_t>(slot)];
    if (s.prompt >= 0 && s.prompt != prompt) {
      Prompt& old = prompts_[static_cast<size_t>(s.prompt)];
      if (old.slot == slot) move_home(s.prompt, slot);
    }
    s = {prompt, true};
  }

  // The prompt's keys in `lost` are about to be overwritten: another slot that holds them takes over.
  void move_home(int64_t prompt, int64_t lost) {
    Prompt& p = prompts_[static_cast<size_t>(prompt)];
    p.slot = -1;
    for (size_t i = 0; i < slots_.size(); ++i)
      if (slots_[i].prompt == prompt && static_cast<int64_t>(i) != lost) p.slot = static_cast<int64_t>(i);
    if (p.slot < 0) p.hidden = at::Tensor();
  }

  // Puts waiting requests into free slots, in order: the first sample of a prompt reads it, the others copy.
  // Ends with the first token of each drawn.
  void admit() {
    std::vector<std::vector<int64_t>> fresh;  // prompts to read
    std::vector<int64_t> fresh_slots, fresh_prompts;
    struct Copy {
      int64_t prompt, slot;
    };
    std::vector<Copy> copies;
    std::vector<Row> rows;
    int64_t num_tokens = 0;
    for (; next_ < requests_.size(); ++next_) {
      const auto prompt = static_cast<int64_t>(prompt_of_[next_]);
      Prompt& p = prompts_[static_cast<size_t>(prompt)];
      const bool reads = p.slot < 0;
      if (reads && !fresh.empty() && num_tokens + p.length() > options_.sampling.prefill_tokens) break;
      const bool home_is_free = !reads && !slots_[static_cast<size_t>(p.slot)].busy;
      const int64_t slot = home_is_free ? p.slot : take_slot();
      if (slot < 0) break;
      occupy(slot, prompt);
      if (reads) {
        p.slot = slot;
        fresh.push_back(*p.tokens);
        fresh_slots.push_back(slot);
        fresh_prompts.push_back(prompt);
        num_tokens += p.length();
      } else if (!home_is_free) {
        copies.push_back({prompt, slot});
      }
      --p.num_waiting;
      rows.push_back({next_, slot, limit_of(requests_[next_]), {}, 0});
    }
    prefill(fresh, fresh_slots, fresh_prompts);
    for (const Copy& c : copies) {
      const Prompt& p = prompts_[static_cast<size_t>(c.prompt)];
      cache_.copy_prefix(p.slot, {c.slot}, p.length());
      stats_.num_copied_tokens += p.length();
    }
    draw_first(rows);
  }

  void prefill(const std::vector<std::vector<int64_t>>& fresh, const std::vector<int64_t>& slots,
               const std::vector<int64_t>& prompts) {
    if (fresh.empty()) return;
    const core::ScopeTimer timer(stats_.prefill_s);
    const model::Batch batch = model::pack(fresh, decoder_.options().device);
    const at::Tensor hidden = decoder_.prefill(batch, cache_, slots);  // [B, C]
    model::wait_for(hidden.device());
    for (size_t i = 0; i < prompts.size(); ++i)
      prompts_[static_cast<size_t>(prompts[i])].hidden = hidden.select(0, static_cast<int64_t>(i));
    stats_.num_prefill_tokens += batch.num_tokens();
  }

  void draw_first(std::vector<Row>& rows) {
    std::vector<at::Tensor> hidden;
    for (Row& r : rows) {
      Prompt& p = prompts_[prompt_of_[r.request]];
      cache_.set_length(r.slot, p.length());
      hidden.push_back(p.hidden);
    }
    const size_t num_old = rows_.size();
    std::move(rows.begin(), rows.end(), std::back_inserter(rows_));
    draw(at::stack(hidden), num_old);
    for (Prompt& p : prompts_)
      if (p.num_waiting == 0) p.hidden = at::Tensor();
  }

  // One token for every row.
  void step() {
    const auto n = static_cast<int64_t>(rows_.size());
    at::Tensor tokens = at::empty({n}, at::kLong);  // [B]
    std::vector<int64_t> slots;
    auto* t = tokens.mutable_data_ptr<int64_t>();
    for (const Row& r : rows_) {
      slots.push_back(r.slot);
      *t++ = samples_[r.request].response.back();
    }
    at::Tensor hidden;  // [B, C]
    {
      const core::ScopeTimer timer(stats_.decode_s);
      hidden = decoder_.decode(tokens.to(decoder_.options().device), cache_, slots);
      model::wait_for(hidden.device());
    }
    ++stats_.num_steps;
    draw(hidden, 0);
  }

  // Draws a token for rows_[first..] from their hidden states and removes the rows that end with it.
  void draw(const at::Tensor& hidden, size_t first) {
    at::Tensor logits;  // [B, V]
    {
      const core::ScopeTimer timer(stats_.logits_s);
      logits = model::output_logits(decoder_, hidden);
      model::wait_for(logits.device());
    }
    std::vector<core::rng::Key> keys;
    for (size_t i = first; i < rows_.size(); ++i) {
      const Request& r = requests_[rows_[i].request];
      keys.push_back({options_.seed, r.purpose, static_cast<uint64_t>(r.sample_id),
                      samples_[rows_[i].request].response.size()});
    }
    const Draws draws = checked_draws(logits, keys, first);
    for (size_t i = first; i < rows_.size(); ++i) append(rows_[i], draws, i - first);
    std::erase_if(rows_, [&](const Row& r) { return !slots_[static_cast<size_t>(r.slot)].busy; });
  }

  Draws checked_draws(const at::Tensor& logits, const std::vector<core::rng::Key>& keys, size_t first) {
    const core::ScopeTimer timer(stats_.sample_s);
    try {
      return sample_rows(logits, sampler_, keys);
    } catch (const NonFiniteLogits& e) {
      const Row& r = rows_[first + static_cast<size_t>(e.row())];
      throw core::Error(e)
          .where(name_of(requests_[r.request]))
          .pointer("response token " + std::to_string(samples_[r.request].response.size()));
    }
  }

  void append(Row& row, const Draws& draws, size_t i) {
    Sample& s = samples_[row.request];
    const int64_t token = draws.tokens[i];
    s.response.push_back(token);
    s.logprobs.push_back(draws.logprobs[i]);
    if (options_.entropy) s.entropies.push_back(draws.entropies[i]);
    row.cut_sum += static_cast<double>(draws.cut_mass[i]);
    ++stats_.num_new_tokens;
    if (hooks_.on_token) hooks_.on_token(row.request, token);
    // Models pad their vocabulary beyond the tokenizer's: such ids have no text.
    const std::string bytes = token < tokenizer_.vocab_size() ? tokenizer_.token_bytes(token) : std::string();
    std::optional<FinishReason> why = rules_.push(row.stop, token, bytes);
    if (!why && static_cast<int64_t>(s.response.size()) >= row.limit) why = FinishReason::kLength;
    if (why) finish(row, *why);
  }

  void finish(Row& row, FinishReason why) {
    const Request& r = requests_[row.request];
    Sample& s = samples_[row.request];
    s.sample_id = r.sample_id;
    s.prompt = r.prompt;
    s.text = std::move(row.stop.text);
    s.finish = why;
    s.cut_mass = row.cut_sum / static_cast<double>(s.response.size());
    slots_[static_cast<size_t>(row.slot)].busy = false;  // draw() then drops the row
    ++num_finished_;
  }

  const model::Decoder& decoder_;
  const tokenizer::Tokenizer& tokenizer_;
  const GeneratorOptions& options_;
  const std::vector<Request>& requests_;
  const RunHooks& hooks_;
  GenerateStats& stats_;
  SamplerOptions sampler_;
  StopRules rules_;
  model::KvCache cache_;
  std::vector<Slot> slots_;
  std::vector<Sample> samples_;
  std::vector<Prompt> prompts_;
  std::vector<size_t> prompt_of_;  // per request
  std::vector<Row> rows_;
  size_t next_ = 0;  // first request that is waiting
  int64_t num_finished_ = 0;
  core::Stopwatch watch_;
};

}  // namespace

Generator::Generator(const model::Decoder& decoder, const tokenizer::Tokenizer& tokenizer,
                     GeneratorOptions options)
    : decoder_(decoder), tokenizer_(tokenizer), options_(std::move(options)) {
  const SamplingConfig& s = options_.sampling;
  PAN_CHECK(s.temperature == 0 || (s.temperature >= kLowestTemperature && std::isfinite(s.temperature)),
            kConfig, "the sampling temperature is out of range")
      .expected("0 (greedy) or at least " + std::to_string(kLowestTemperature))
      .got(std::to_string(s.temperature));
  PAN_CHECK(s.top_k >= 0, kConfig, "top_k is negative").got(std::to_string(s.top_k));
  PAN_CHECK(s.top_p > 0 && s.top_p <= 1, kConfig, "top_p is out of range")
      .expected("(0, 1]")
      .got(std::to_string(s.top_p));
  PAN_CHECK(s.max_new_tokens > 0 && s.slots > 0 && s.prefill_tokens > 0, kConfig,
            "max_new_tokens, slots and prefill_tokens must be positive");
  const int64_t context = decoder.arch().max_positions;
  PAN_CHECK(options_.max_length >= 0 && options_.max_length <= context, kConfig,
            "sequences may not be longer than the model's context")
      .expected("at most " + std::to_string(context))
      .got(std::to_string(options_.max_length));
}

std::vector<Sample> Generator::run(const std::vector<Request>& requests, const RunHooks& hooks) {
  stats_ = {};
  if (requests.empty()) return {};
  // Not InferenceMode: tables that the decoder fills on first use must stay usable in training.
  const c10::NoGradGuard no_grad;
  const core::ScopeTimer timer(stats_.total_s);
  return Run(decoder_, tokenizer_, options_, requests, hooks, stats_).run();
}

int64_t generate_bytes(const model::Arch& arch, at::ScalarType dtype, const SamplingConfig& sampling,
                       int64_t num_requests, int64_t max_length) {
  const auto width = static_cast<int64_t>(c10::elementSize(dtype));
  const int64_t slots = std::min(sampling.slots, num_requests);
  const int64_t cache = 2 * arch.num_layers * slots * arch.num_kv_heads * max_length * arch.head_dim * width;
  const int64_t logits = slots * arch.vocab_size * (4 + (dtype == at::kFloat ? 0 : width));
  const int64_t tokens = std::min(std::max(sampling.prefill_tokens, max_length), slots * max_length);
  const int64_t heads = (2 * arch.num_heads + 2 * arch.num_kv_heads) * arch.head_dim;
  const int64_t activations = tokens * (3 * arch.hidden_size + heads + 3 * arch.intermediate_size) * width;
  return cache + std::max(logits, activations);
}

}  // namespace pan::rollout
