#include "cli/open_model.h"

#include "checkpoint/reader.h"
#include "core/error.h"
#include "train/process.h"

namespace pan::cli {

OpenModel open_model(const train::ModelConfig& model, const std::optional<tokenizer::PromptConfig>& prompt,
                     int64_t threads) {
  OpenModel m;
  m.location = eval::locate_model(model.path);
  if (!m.location.checkpoint.empty())
    checkpoint::Checkpoint(m.location.checkpoint, checkpoint::Verify::kChecksums);  // throws where damaged
  const at::Device device = train::prepare_process(model, threads);
  m.tokenizer = tokenizer::load(m.location.tokenizer_folder);
  const std::string& folder = m.location.tokenizer_folder;
  if (prompt) m.chat = tokenizer::load_chat_template(folder, *prompt, *m.tokenizer);
  m.stop_tokens = m.chat ? tokenizer::stop_token_ids(folder, *m.tokenizer, *m.chat)
                         : tokenizer::stop_token_ids(folder, *m.tokenizer);
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

std::vector<int64_t> encode_prompt(const OpenModel& m, const std::string& prompt) {
  return m.chat ? m.chat->encode_prompt(*m.tokenizer, prompt)
                : m.tokenizer->encode(prompt, {.add_special = true});
}

}  // namespace pan::cli
