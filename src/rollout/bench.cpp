#include "rollout/bench.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"

namespace pan::rollout {

BenchResult bench_generate(const model::Decoder& decoder, const tokenizer::Tokenizer& tokenizer,
                           const GeneratorOptions& options, const std::vector<Request>& requests,
                           int64_t repetitions, const RunHooks& hooks) {
  PAN_CHECK(repetitions > 0, kInternal, "a benchmark needs at least one repetition");
  GeneratorOptions one_token = options;
  one_token.sampling.max_new_tokens = 1;
  Generator(decoder, tokenizer, one_token).run(requests);
  BenchResult out;
  Generator generator(decoder, tokenizer, options);
  for (int64_t i = 0; i < repetitions; ++i) {
    out.samples = generator.run(requests, hooks);
    out.total_s.push_back(generator.stats().total_s);
    if (i == 0 || generator.stats().total_s < out.stats.total_s) out.stats = generator.stats();
  }
  return out;
}

nlohmann::ordered_json to_json(const BenchResult& result) {
  const GenerateStats& s = result.stats;
  core::Json out;
  out["new_tokens"] = s.num_new_tokens;
  out["tokens_per_s"] = static_cast<double>(s.num_new_tokens) / s.total_s;
  out["total_s"] = s.total_s;
  out["runs_s"] = result.total_s;
  out["prefill_s"] = s.prefill_s;
  out["decode_s"] = s.decode_s;
  out["logits_s"] = s.logits_s;
  out["sample_s"] = s.sample_s;
  out["steps"] = s.num_steps;
  out["prefill_tokens"] = s.num_prefill_tokens;
  out["peak_rss_bytes"] = core::peak_resident_bytes();
  return out;
}

}  // namespace pan::rollout
