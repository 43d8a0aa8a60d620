// Byte-pair merging of one word: the part that all BPE tokenizers share.
//
//   MergeTable table; table.insert(left, right, {rank, merged});
//   table.apply(symbols);    // ids in, ids out, lowest rank first, leftmost among equals
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pan::tokenizer {

struct Merge {
  int32_t rank = -1;
  int32_t id = -1;  // of the merged token
};

class MergeTable {
 public:
  void reserve(size_t num_merges);
  // A pair that is there already takes the new rank.
  void insert(int32_t left, int32_t right, Merge merge);
  const Merge* find(int32_t left, int32_t right) const;

  // Merges in place until no pair of neighbours has an entry. O(n log n).
  void apply(std::vector<int32_t>& symbols) const;

 private:
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  void grow(size_t num_slots);
  size_t slot_of(uint64_t key) const;
  void apply_short(std::vector<int32_t>& symbols) const;
  void apply_long(std::vector<int32_t>& symbols) const;

  std::vector<Slot> slots_;  // open addressing, size a power of two
  size_t used_ = 0;
};

}  // namespace pan::tokenizer
