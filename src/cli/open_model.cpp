#include "cli/open_model.h"

#include "core/error.h"
#include "train/process.h"

namespace pan::cli {

OpenModel open_model(const train::ModelConfig& model, const tokenizer::PromptConfig& prompt,
                     int64_t threads) {
  OpenModel m;
  m.location = eval::locate_model(model.path);
  const at::Device device = train::prepare_process(model, threads);
  m.tokenizer = tokenizer::load(m.location.tokenizer_folder);
  m.chat = tokenizer::load_chat_template(m.location.tokenizer_folder, prompt, *m.tokenizer);
  m.stop_tokens = tokenizer::stop_token_ids(m.location.tokenizer_folder, *m.tokenizer, *m.chat);
  m.decoder =
      model::load_decoder(m.location.policy_folder, {.dtype = train::compute_type(model), .device = device});
  PAN_CHECK(m.tokenizer->vocab_size() <= m.decoder->arch().vocab_size, kData,
            "the tokenizer has more tokens than the model has embeddings")
      .where(m.location.policy_folder)
      .expected("at most vocab_size = " + std::to_string(m.decoder->arch().vocab_size))
      .got(std::to_string(m.tokenizer->vocab_size()))
      .remedy("Tokenizer and weights are of different models; take both from one folder");
  return m;
}

}  // namespace pan::cli
