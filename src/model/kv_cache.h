// Keys and values of sequences being generated: preallocated slots, one sequence each.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/arch.h"

namespace pan::model {

class KvCache {
 public:
  // Memory: 2 * num_layers * num_slots * Hkv * max_length * D elements.
  KvCache(const Arch& arch, int64_t num_slots, int64_t max_length, at::ScalarType dtype, at::Device device);

  int64_t num_slots() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t max_length() const { return max_length_; }
  int64_t length(int64_t slot) const { return lengths_[static_cast<size_t>(slot)]; }
  void set_length(int64_t slot, int64_t length) { lengths_[static_cast<size_t>(slot)] = length; }

  at::Tensor& keys(int64_t layer) {
    return keys_[static_cast<size_t>(layer)];
  }  // [slots, Hkv, max_length, D]
  at::Tensor& values(int64_t layer) {
    return values_[static_cast<size_t>(layer)];
  }  // [slots, Hkv, max_length, D]

  // Where the keys of one position of each slot lie among the rows of keys(layer).view({-1, D}): [B * Hkv],
  // on the cache's device. Written through one index of rows, a cache stays where it is; through two indices,
  // CUDA's deterministic index_put_ would copy all of it out and back.
  at::Tensor rows(const std::vector<int64_t>& slots, const std::vector<int64_t>& positions) const;

  // Copies the first `length` positions of one slot into others (a prompt shared by a group of samples).
  void copy_prefix(int64_t from, const std::vector<int64_t>& to, int64_t length);

 private:
  int64_t max_length_ = 0;
  std::vector<int64_t> lengths_;
  std::vector<at::Tensor> keys_, values_;
};

}  // namespace pan::model
