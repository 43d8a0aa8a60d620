#include "model/kv_cache.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "core/error.h"

namespace pan::model {

KvCache::KvCache(const Arch& arch, int64_t num_slots, int64_t max_length, at::ScalarType dtype,
                 at::Device device)
    : max_length_(max_length), lengths_(static_cast<size_t>(num_slots), 0) {
  PAN_CHECK(num_slots > 0 && max_length > 0, kInternal, "a cache needs slots and a length")
      .got(std::to_string(num_slots) + " slots of " + std::to_string(max_length) + " tokens");
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  const std::vector<int64_t> shape = {num_slots, arch.num_kv_heads, max_length, arch.head_dim};
  for (int64_t layer = 0; layer < arch.num_layers; ++layer) {
    // Zeros: what is beyond a sequence's end is masked, but a masked NaN would still spread.
    keys_.push_back(at::zeros(shape, options));
    values_.push_back(at::zeros(shape, options));
  }
}

at::Tensor KvCache::rows(const std::vector<int64_t>& slots, const std::vector<int64_t>& positions) const {
  const int64_t num_heads = keys_.front().size(1);
  at::Tensor out = at::empty({static_cast<int64_t>(slots.size()) * num_heads}, at::kLong);
  auto* row = out.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < slots.size(); ++i)
    for (int64_t h = 0; h < num_heads; ++h) *row++ = (slots[i] * num_heads + h) * max_length_ + positions[i];
  return out.to(keys_.front().device());
}

void KvCache::copy_prefix(int64_t from, const std::vector<int64_t>& to, int64_t length) {
  PAN_CHECK(length >= 0 && length <= this->length(from), kInternal,
            "a cache slot holds fewer positions than asked for")
      .expected("at most " + std::to_string(this->length(from)))
      .got(std::to_string(length));
  c10::NoGradGuard no_grad;
  for (std::vector<at::Tensor>* tensors : {&keys_, &values_}) {
    for (at::Tensor& tensor : *tensors) {
      const at::Tensor source = tensor.select(0, from).narrow(1, 0, length);
      for (int64_t slot : to) {
        if (slot != from) tensor.select(0, slot).narrow(1, 0, length).copy_(source);
      }
    }
  }
  for (int64_t slot : to) set_length(slot, length);
}

}  // namespace pan::model
