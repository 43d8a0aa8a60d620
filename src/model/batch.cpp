#include "model/batch.h"

#include <ATen/ATen.h>

#include "core/error.h"

namespace pan::model {

Batch pack(const std::vector<std::vector<int64_t>>& sequences, at::Device device) {
  Batch batch;
  batch.cu_seqlens.push_back(0);
  for (size_t i = 0; i < sequences.size(); ++i) {
    PAN_CHECK(!sequences[i].empty(), kInternal, "a packed sequence has no tokens").pointer(std::to_string(i));
    batch.cu_seqlens.push_back(batch.cu_seqlens.back() + static_cast<int64_t>(sequences[i].size()));
  }
  at::Tensor tokens = at::empty({batch.num_tokens()}, at::kLong);
  at::Tensor positions = at::empty({batch.num_tokens()}, at::kLong);
  int64_t* token = tokens.mutable_data_ptr<int64_t>();
  int64_t* position = positions.mutable_data_ptr<int64_t>();
  for (const auto& sequence : sequences) {
    for (size_t t = 0; t < sequence.size(); ++t) {
      *token++ = sequence[t];
      *position++ = static_cast<int64_t>(t);
    }
  }
  batch.tokens = tokens.to(device);
  batch.positions = positions.to(device);
  return batch;
}

}  // namespace pan::model
