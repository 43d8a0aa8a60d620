// A model for use, not for training: what eval, generate and score open.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "eval/locate.h"
#include "model/decoder.h"
#include "pan/tokenizer.h"
#include "tokenizer/chat_template.h"
#include "train/train_config.h"

namespace pan::cli {

struct OpenModel {
  eval::ModelLocation location;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  std::shared_ptr<const tokenizer::ChatTemplate> chat;
  std::vector<int64_t> stop_tokens;
  std::unique_ptr<model::Decoder> decoder;
};

// `model.path` is what --model says: run folder, checkpoint or Hugging Face folder. Errors: kData, kDevice.
OpenModel open_model(const train::ModelConfig& model, const tokenizer::PromptConfig& prompt, int64_t threads);

}  // namespace pan::cli
