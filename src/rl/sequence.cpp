#include "rl/sequence.h"

#include "core/error.h"

namespace pan::rl {

std::vector<int64_t> response_offsets(const std::vector<TrainSequence>& sequences) {
  std::vector<int64_t> offsets = {0};
  offsets.reserve(sequences.size() + 1);
  for (const TrainSequence& s : sequences) {
    PAN_CHECK(s.prompt_length >= 1 && s.response_length() >= 0, kInternal,
              "prompt length outside its sequence")
        .where("sequence " + std::to_string(s.id))
        .expected("1 .. " + std::to_string(s.tokens.size()))
        .got(std::to_string(s.prompt_length));
    offsets.push_back(offsets.back() + s.response_length());
  }
  return offsets;
}

}  // namespace pan::rl
