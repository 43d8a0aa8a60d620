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
// norms, the projection to q, k and v, q and k after the rotary embedding, each sequence's attention output
// and all of them end to end, gate, up and their product.
int64_t block_elements(const model::Arch& a) {
  const int64_t q = a.num_heads * a.head_dim, kv = a.num_kv_heads * a.head_dim;
  return 4 * a.hidden_size + 4 * q + 3 * kv + 3 * a.intermediate_size;
}

bool exports_float32(const config::RunConfig& c) {
  return c.model.export_dtype == "float32" ||
         (c.model.export_dtype == "auto" && compute_type(c.model) == at::kFloat);
}

// A micro-batch holds at least one sequence and at most a minibatch.
int64_t micro_batch_tokens(const config::RunConfig& c) {
  const int64_t longest = c.longest_sequence();
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
int64_t scoring_bytes(const config::RunConfig& c, const ModelSizes& models) {
  const model::Arch& a = models.policy;
  const int64_t tokens = micro_batch_tokens(c), e = element_bytes(c);
  int64_t widest = block_elements(a) + 2 * a.hidden_size;
  if (models.critic)
    widest = std::max(widest, block_elements(*models.critic) + 2 * models.critic->hidden_size);
  int64_t bytes = tokens * widest * e + kernels::LogprobOptions{}.chunk_bytes;
  if (!c.rhythm.enabled) return bytes;
  const auto layers = static_cast<int64_t>(
      rhythm::resolve_layers(c.rhythm, model::default_tap_layers(a), a.num_layers).size());
  bytes += tokens * layers * ((a.num_heads + a.num_kv_heads) * a.head_dim * e + 4 * 4 * a.num_heads);
  return bytes + tokens * 2 * 4 * (c.rhythm.h_hi - c.rhythm.h_lo + 1);
}

int64_t num_trained(const config::RunConfig& c, const model::Arch& a) {
  return c.model.lora.enabled() ? model::num_adapter_parameters(a, c.model.lora) : a.num_parameters();
}

// float32: weights, two moments. bfloat16: weights, masters, two moments.
int64_t training_bytes(const config::RunConfig& c, const model::Arch& a) {
  return (element_bytes(c) == 4 ? 12 : 14) * num_trained(c, a);
}

void add_weights(MemoryPlan& plan, const config::RunConfig& c, const ModelSizes& models) {
  const int64_t n = models.policy.num_parameters(), e = element_bytes(c);
  if (!c.model.lora.enabled()) {
    plan.resident.emplace_back("policy (weights, optimizer)", training_bytes(c, models.policy));
    if (models.critic)
      plan.resident.emplace_back("critic (weights, optimizer)", training_bytes(c, *models.critic));
    if (rl::needs_reference(c.rl)) plan.resident.emplace_back("reference (weights)", e * n);
    return;
  }
  const bool foreign = models.critic && !c.rl.critic.path.empty();
  plan.resident.emplace_back("weights of policy, reference and critic",
                             e * (n + (foreign ? models.critic->num_parameters() : 0)));
  plan.resident.emplace_back(
      "adapters (weights, optimizer)",
      training_bytes(c, models.policy) + (models.critic ? training_bytes(c, *models.critic) : 0));
}

// What autograd keeps of one micro-batch.
int64_t activation_bytes(const config::RunConfig& c, const model::Arch& a) {
  // With checkpointing: the input of every block, and the activations of the one that is being recomputed.
  const int64_t kept = c.model.gradient_checkpointing ? a.num_layers * a.hidden_size + block_elements(a)
                                                      : a.num_layers * block_elements(a);
  return micro_batch_tokens(c) * (kept + 6 * a.hidden_size) * element_bytes(c);
}

// One model is updated after the other, and gradients are freed by each optimizer step: they are summed in
// float32, and those of bfloat16 weights stand beside their sums during a pass.
int64_t update_bytes(const config::RunConfig& c, const model::Arch& a) {
  return (element_bytes(c) == 4 ? 4 : 6) * num_trained(c, a) + activation_bytes(c, a);
}

int64_t exported_bytes(const config::RunConfig& c, const model::Arch& a) {
  return (exports_float32(c) ? 4 : 2) * a.num_parameters();
}

}  // namespace

ModelSizes sizes_of(const model::Arch& policy, std::optional<model::Arch> critic) {
  // A critic has a value head in place of an output matrix of its own.
  if (critic) critic->tied_embeddings = true;
  return {.policy = policy, .critic = std::move(critic)};
}

ModelSizes read_sizes(const config::RunConfig& c) {
  const model::Arch policy = model::read_arch(c.model.path);
  if (!rl::has_separate_critic(c.rl)) return sizes_of(policy, std::nullopt);
  return sizes_of(policy, c.rl.critic.path.empty() ? policy : model::read_arch(c.rl.critic.path));
}

int64_t MemoryPlan::peak() const {
  int64_t total = 0, largest = 0;
  for (const auto& [name, bytes] : resident) total += bytes;
  for (const auto& [name, bytes] : phases) largest = std::max(largest, bytes);
  return total + largest;
}

MemoryPlan plan_memory(const config::RunConfig& c, const ModelSizes& models) {
  const model::Arch& a = models.policy;
  MemoryPlan plan;
  plan.resident.emplace_back("program", kProcessBytes);
  add_weights(plan, c, models);
  plan.phases.emplace_back("sampling (cache, logits)",
                           rollout::generate_bytes(a, compute_type(c.model), c.rollout,
                                                   c.sequences_per_iteration(), c.longest_sequence()));
  if (c.eval.every > 0) plan.phases.emplace_back("evaluating (cache, logits)", evaluation_bytes(c, a));
  plan.phases.emplace_back("scoring (activations of one block, tap)", scoring_bytes(c, models));
  const int64_t critic_update = models.critic ? update_bytes(c, *models.critic) : 0;
  plan.phases.emplace_back("update (gradients, activations of one micro-batch)",
                           std::max(update_bytes(c, a), critic_update));
  if (c.model.lora.enabled()) {
    const int64_t critic = models.critic ? exported_bytes(c, *models.critic) : 0;
    plan.phases.emplace_back("checkpoint (merged weights)", std::max(exported_bytes(c, a), critic));
  }
  return plan;
}

namespace {

int64_t checkpoint_bytes(const config::RunConfig& c, const model::Arch& a) {
  const bool lora = c.model.lora.enabled(), bfloat16 = compute_type(c.model) != at::kFloat;
  const int64_t trained = num_trained(c, a);
  int64_t bytes = exported_bytes(c, a) + 8 * trained;
  if (lora) bytes += 4 * trained;  // adapters are written as float32 beside the merged weights
  if (bfloat16 || (!lora && !exports_float32(c))) bytes += 4 * trained;  // masters or exact weights
  return bytes;
}

}  // namespace

DiskPlan plan_disk(const config::RunConfig& c, const ModelSizes& models) {
  return {.checkpoint_bytes =
              checkpoint_bytes(c, models.policy) + (models.critic ? checkpoint_bytes(c, *models.critic) : 0),
          .num_checkpoints = c.checkpoint.keep_last + c.checkpoint.keep_best + 1};
}

}  // namespace pan::train
