#include "tokenizer/bpe.h"

#include <functional>
#include <queue>
#include <tuple>

namespace pan::tokenizer {
namespace {

uint64_t key_of(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

uint64_t mix(uint64_t x) {  // finaliser of splitmix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

size_t MergeTable::slot_of(uint64_t key) const {
  const size_t mask = slots_.size() - 1;
  size_t i = mix(key) & mask;
  while (slots_[i].key != key && slots_[i].key != kEmpty) i = (i + 1) & mask;
  return i;
}

void MergeTable::grow(size_t num_slots) {
  std::vector<Slot> old(num_slots);
  old.swap(slots_);
  for (const Slot& s : old) {
    if (s.key != kEmpty) slots_[slot_of(s.key)] = s;
  }
}

void MergeTable::reserve(size_t num_merges) {
  size_t size = 16;
  while (size < num_merges * 2) size *= 2;
  if (size > slots_.size()) grow(size);
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  if ((used_ + 1) * 2 > slots_.size()) reserve(used_ * 2 + 8);
  Slot& slot = slots_[slot_of(key_of(left, right))];
  if (slot.key == kEmpty) {
    slot.key = key_of(left, right);
    ++used_;
  }
  slot.merge = merge;
}

const Merge* MergeTable::find(int32_t left, int32_t right) const {
  if (slots_.empty()) return nullptr;
  const Slot& slot = slots_[slot_of(key_of(left, right))];
  return slot.key == kEmpty ? nullptr : &slot.merge;
}

void MergeTable::apply(std::vector<int32_t>& symbols) const {
  constexpr size_t kShort = 24;  // below it rescanning all pairs beats a heap
  if (symbols.size() <= kShort) {
    apply_short(symbols);
  } else {
    apply_long(symbols);
  }
}

void MergeTable::apply_short(std::vector<int32_t>& symbols) const {
  while (symbols.size() > 1) {
    const Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Merge* m = find(symbols[i], symbols[i + 1]);
      if (m != nullptr && (best == nullptr || m->rank < best->rank)) {
        best = m;
        at = i;
      }
    }
    if (best == nullptr) return;
    symbols[at] = best->id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

// A doubly linked list over the symbols and a heap of candidate pairs. A candidate is stale when its position
// has died or the pair there has changed; both show in (left, right), because a neighbour only ever grows.
void MergeTable::apply_long(std::vector<int32_t>& symbols) const {
  const auto n = static_cast<int64_t>(symbols.size());
  std::vector<int64_t> next(symbols.size()), previous(symbols.size());
  for (int64_t i = 0; i < n; ++i) {
    next[static_cast<size_t>(i)] = i + 1 < n ? i + 1 : -1;
    previous[static_cast<size_t>(i)] = i - 1;
  }
  using Candidate =
      std::tuple<int32_t, int64_t, int32_t, int32_t, int32_t>;  // rank, position, left, right, merged
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap;
  const auto offer = [&](int64_t i) {
    if (i < 0 || next[static_cast<size_t>(i)] < 0) return;
    const int32_t left = symbols[static_cast<size_t>(i)];
    const int32_t right = symbols[static_cast<size_t>(next[static_cast<size_t>(i)])];
    if (const Merge* m = find(left, right)) heap.emplace(m->rank, i, left, right, m->id);
  };
  for (int64_t i = 0; i + 1 < n; ++i) offer(i);

  constexpr int32_t kDead = -1;
  while (!heap.empty()) {
    const auto [rank, position, left, right, merged] = heap.top();
    heap.pop();
    const auto i = static_cast<size_t>(position);
    if (symbols[i] != left || next[i] < 0 || symbols[static_cast<size_t>(next[i])] != right) continue;
    const auto gone = static_cast<size_t>(next[i]);
    symbols[i] = merged;
    symbols[gone] = kDead;
    next[i] = next[gone];
    if (next[i] >= 0) previous[static_cast<size_t>(next[i])] = position;
    offer(previous[i]);
    offer(position);
  }
  size_t kept = 0;
  for (int64_t i = 0; i >= 0; i = next[static_cast<size_t>(i)])
    symbols[kept++] = symbols[static_cast<size_t>(i)];
  symbols.resize(kept);
}

}  // namespace pan::tokenizer
