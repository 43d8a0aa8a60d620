// A model for use, not for training: what eval, generate and score open.
#pragma once

#include <memory>
#include <optional>
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
  std::shared_ptr<const tokenizer::ChatTemplate> chat;  // null where no template was asked for
  std::vector<int64_t> stop_tokens;
  std::unique_ptr<model::Decoder> decoder;
};

// `model.path` is what --model says: run folder, checkpoint or Hugging Face folder. Without `prompt` the
// texts are raw: the folder's chat template is not looked at, known or not. Errors: kData, kDevice.
OpenModel open_model(const train::ModelConfig& model, const std::optional<tokenizer::PromptConfig>& prompt,
                     int64_t threads);

// The ids of one prompt: in the chat template where there is one, else as raw text behind the tokenizer's
// own start.
std::vector<int64_t> encode_prompt(const OpenModel& model, const std::string& prompt);

}  // namespace pan::cli
