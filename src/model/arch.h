// What a decoder-only model is, read from the config.json of a Hugging Face folder.
//
//   model::Arch arch = model::read_arch("model_folder");
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pan::model {

enum class Family { kLlama, kQwen2, kQwen3 };

enum class RopeType { kDefault, kLinear, kLlama3 };

struct Rope {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;            // linear, llama3
  double low_freq_factor = 1.0;   // llama3
  double high_freq_factor = 4.0;  // llama3
  int64_t original_context = 0;   // llama3, token
};

struct Arch {
  Family family = Family::kLlama;
  int64_t vocab_size = 0;   // V: rows of the embedding
  int64_t hidden_size = 0;  // C
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;      // H
  int64_t num_kv_heads = 0;   // Hkv
  int64_t head_dim = 0;       // D
  int64_t max_positions = 0;  // token
  double rms_norm_eps = 1e-6;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;  // of attention's output projection
  bool mlp_bias = false;
  bool qk_norm = false;  // RMSNorm over D on q and k before the rotary embedding (Qwen3)
  Rope rope;
  std::vector<int64_t> eos_token_ids;  // of config.json
  int64_t bos_token_id = -1;
  int64_t pad_token_id = -1;

  int64_t num_parameters() const;
};

// Errors: kData with the file and JSON pointer: unknown architecture, an active sliding window, experts,
// unknown rotary type, an activation other than silu: everything that would change the result and is not
// implemented is refused by name.
Arch read_arch(const std::string& folder);

}  // namespace pan::model
