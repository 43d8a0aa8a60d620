#include "train/memory_plan.h"

#include <algorithm>

#include "kernels/logprob_entropy.h"
#include "model/attention_tap.h"
#include "model/lora.h"
#include "rhythm/head_groups.h"
#include "rl/rl_config.h"
#include "rollout/generate.h"
#include "train/process.h"

namespace pan::train {
namespace {

constexpr int64_t kProcessBytes = 230 << 20;  // the program, LibTorch and its thread pools

int64_t element_bytes(const config::RunConfig& c) { return compute_type(c.model) == at::kFloat ? 4 : 2; }

// Activations that autograd keeps for one token of one block, in elements: the inputs and outputs of both
// norms, q, k, v before and after the rotary embedding, the attention output, gate, up and their product.
int64_t block_elements(const model::Arch& a) {
  const int64_t q = a.num_heads * a.head_dim, kv = a.num_kv_heads * a.head_dim;
  return 4 * a.hidden_size + 3 * q + 3 * kv + 3 * a.intermediate_size;
}

bool has_separate_critic(const config::RunConfig& c) {
  return rl::needs_critic(c.rl) && c.rl.critic.mode == rl::CriticMode::kSeparate;
}

bool exports_float32(const config::RunConfig& c) {
  return c.model.export_dtype == "float32" ||
         (c.model.export_dtype == "auto" && compute_type(c.model) == at::kFloat);
}

int64_t longest_sequence(const config::RunConfig& c) {
  return c.train.max_prompt_tokens + c.rollout.max_new_tokens;
}

// A micro-batch holds at least one sequence and at most a minibatch.
int64_t micro_batch_tokens(const config::RunConfig& c) {
  const int64_t longest = longest_sequence(c);
  return std::clamp(c.rl.ppo.micro_batch_tokens, longest, c.rl.ppo.minibatch_size * longest);
}

int64_t evaluation_bytes(const config::RunConfig& c, const model::Arch& a) {
  rollout::SamplingConfig sampling = c.rollout;
  sampling.slots = c.eval.slots;
  const int64_t new_tokens = c.eval.max_new_tokens > 0 ? c.eval.max_new_tokens : c.rollout.max_new_tokens;
  const int64_t items = c.eval.num_problems > 0 ? c.eval.num_problems * c.eval.samples : c.eval.slots;
  return rollout::generate_bytes(a, compute_type(c.model), sampling, items,
                                 c.train.max_prompt_tokens + new_tokens);
}

// One block's activations without gradients, the working memory of the log-probabilities, and what the tap
// keeps of a micro-batch: queries and keys of its layers, a few numbers a token and head, the band.
int64_t scoring_bytes(const config::RunConfig& c, const model::Arch& a) {
  const int64_t tokens = micro_batch_tokens(c), e = element_bytes(c);
  int64_t bytes =
      tokens * (block_elements(a) + 2 * a.hidden_size) * e + kernels::LogprobOptions{}.chunk_bytes;
  if (!c.rhythm.enabled) return bytes;
  const auto layers = static_cast<int64_t>(
      rhythm::resolve_layers(c.rhythm, model::default_tap_layers(a), a.num_layers).size());
  bytes += tokens * layers * ((a.num_heads + a.num_kv_heads) * a.head_dim * e + 4 * 4 * a.num_heads);
  return bytes + tokens * 2 * 4 * (c.rhythm.h_hi - c.rhythm.h_lo + 1);
}

}  // namespace

int64_t MemoryPlan::peak() const {
  int64_t total = 0, largest = 0;
  for (const auto& [name, bytes] : resident) total += bytes;
  for (const auto& [name, bytes] : phases) largest = std::max(largest, bytes);
  return total + largest;
}

MemoryPlan plan_memory(const config::RunConfig& c, const model::Arch& a) {
  const int64_t n = a.num_parameters(), e = element_bytes(c);
  const bool lora = c.model.lora.enabled();
  const int64_t trained = lora ? model::num_adapter_parameters(a, c.model.lora) : n;
  const bool critic = has_separate_critic(c);
  MemoryPlan plan;
  plan.resident.emplace_back("program", kProcessBytes);
  // float32: weights, two moments. bfloat16: weights, masters, two moments.
  const int64_t training = (e == 4 ? 12 : 14) * trained;
  if (lora) {
    plan.resident.emplace_back("weights of policy, reference and critic",
                               e * n * (critic && !c.rl.critic.path.empty() ? 2 : 1));
    plan.resident.emplace_back("adapters (weights, optimizer)", training * (critic ? 2 : 1));
  } else {
    plan.resident.emplace_back("policy (weights, optimizer)", training);
    if (critic) plan.resident.emplace_back("critic (weights, optimizer)", training);
    if (rl::needs_reference(c.rl)) plan.resident.emplace_back("reference (weights)", e * n);
  }

  plan.phases.emplace_back("sampling (cache, logits)",
                           rollout::generate_bytes(a, compute_type(c.model), c.rollout,
                                                   c.sequences_per_iteration(), longest_sequence(c)));
  if (c.eval.every > 0) plan.phases.emplace_back("evaluating (cache, logits)", evaluation_bytes(c, a));
  plan.phases.emplace_back("scoring (activations of one block, tap)", scoring_bytes(c, a));
  const int64_t tokens = micro_batch_tokens(c);
  // Gradients live while the update runs, summed in float32; of bfloat16 weights those of the pass at hand
  // too.
  const int64_t gradients = 4 * trained * (critic ? 2 : 1) + (e == 4 ? 0 : 2 * trained);
  // With checkpointing: the input of every block, and the activations of the one that is being recomputed.
  const int64_t kept = c.model.gradient_checkpointing ? a.num_layers * a.hidden_size + block_elements(a)
                                                      : a.num_layers * block_elements(a);
  const int64_t activations = tokens * (kept + 6 * a.hidden_size) * e;
  plan.phases.emplace_back("update (gradients, activations of one micro-batch)", gradients + activations);
  if (lora) plan.phases.emplace_back("checkpoint (merged weights)", (exports_float32(c) ? 4 : 2) * n);
  return plan;
}

DiskPlan plan_disk(const config::RunConfig& c, const model::Arch& a) {
  const bool lora = c.model.lora.enabled();
  const int64_t trained = lora ? model::num_adapter_parameters(a, c.model.lora) : a.num_parameters();
  int64_t one_model = (exports_float32(c) ? 4 : 2) * a.num_parameters() + 8 * trained;
  // Adapters are written as float32 beside the merged weights.
  if (lora) one_model += 4 * trained;
  const bool bfloat16 = compute_type(c.model) != at::kFloat;
  if (bfloat16 || (!lora && !exports_float32(c))) one_model += 4 * trained;  // masters or exact weights
  return {.checkpoint_bytes = one_model * (has_separate_critic(c) ? 2 : 1),
          .num_checkpoints = c.checkpoint.keep_last + c.checkpoint.keep_best + 1};
}

}  // namespace pan::train
