#include "rl/forward.h"

#include <ATen/ATen.h>

namespace pan::rl {

PackedRows pack_rows(const std::vector<TrainSequence>& sequences, const MicroBatch& micro,
                     at::Device device) {
  PackedRows out;
  std::vector<std::vector<int64_t>> tokens;
  std::vector<int64_t> rows, targets;
  out.offsets.push_back(0);
  int64_t start = 0;
  for (int64_t i : micro) {
    const TrainSequence& s = sequences[static_cast<size_t>(i)];
    const auto length = static_cast<int64_t>(s.tokens.size());
    for (int64_t t = s.prompt_length; t < length; ++t) {
      rows.push_back(start + t - 1);
      targets.push_back(s.tokens[static_cast<size_t>(t)]);
    }
    tokens.push_back(s.tokens);
    out.offsets.push_back(static_cast<int64_t>(rows.size()));
    start += length;
  }
  out.batch = model::pack(tokens, device);
  out.rows = at::tensor(rows, at::kLong).to(device);
  out.targets = at::tensor(targets, at::kLong).to(device);
  return out;
}

at::Tensor response_hidden(const model::Decoder& decoder, const PackedRows& packed,
                           const model::AttentionTap* tap) {
  return decoder.hidden(packed.batch, tap).index_select(0, packed.rows);
}

kernels::LogprobEntropy response_logprobs(const model::Decoder& decoder, const at::Tensor& hidden,
                                          const PackedRows& packed, double temperature,
                                          bool entropy_gradient) {
  // Every target was a token of the forward that made `hidden`, and the embedding has looked it up.
  return kernels::logprob_entropy(
      hidden, decoder.output_weight(), packed.targets,
      {.temperature = temperature, .entropy_gradient = entropy_gradient, .targets_in_range = true});
}

at::Tensor gather(const at::Tensor& flat, const std::vector<int64_t>& offsets, const MicroBatch& micro,
                  at::Device device) {
  if (!flat.defined()) return flat;
  std::vector<at::Tensor> parts;
  for (int64_t i : micro) {
    const auto k = static_cast<size_t>(i);
    parts.push_back(flat.narrow(0, offsets[k], offsets[k + 1] - offsets[k]));
  }
  return at::cat(parts).to(device);
}

}  // namespace pan::rl
