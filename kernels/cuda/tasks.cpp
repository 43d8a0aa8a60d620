#include "kernels/cuda/tasks.h"

#include <algorithm>

namespace pan::kernels::cuda {
namespace {

int32_t narrow(int64_t x) { return static_cast<int32_t>(x); }

// visit(begin, length, sequence index) for every sequence.
template <class Visit>
void for_sequences(const std::vector<int64_t>& cu_seqlens, Visit visit) {
  for (size_t b = 0; b + 1 < cu_seqlens.size(); ++b)
    visit(cu_seqlens[b], cu_seqlens[b + 1] - cu_seqlens[b], b);
}

}  // namespace

RowSlots row_slots(const std::vector<int64_t>& chosen, int64_t num_heads, int64_t group) {
  RowSlots out;
  const int64_t count = chosen.empty() ? num_heads : static_cast<int64_t>(chosen.size());
  for (int64_t i = 0; i < count; ++i)
    out.slots.push_back({narrow(chosen.empty() ? i : chosen[static_cast<size_t>(i)]), narrow(i)});
  const auto key_head = [group](const device::HeadSlot& slot) { return slot.head / group; };
  std::stable_sort(
      out.slots.begin(), out.slots.end(),
      [&](const device::HeadSlot& a, const device::HeadSlot& b) { return key_head(a) < key_head(b); });
  for (size_t i = 0; i < out.slots.size(); ++i) {
    if (i == 0 || key_head(out.slots[i]) != key_head(out.slots[i - 1]))
      out.bounds.push_back(narrow(static_cast<int64_t>(i)));
  }
  out.bounds.push_back(narrow(count));
  for (size_t i = 1; i < out.bounds.size(); ++i)
    out.most = std::max(out.most, out.bounds[i] - out.bounds[i - 1]);
  return out;
}

std::vector<device::RowsTask> row_tasks(const std::vector<int64_t>& cu_seqlens,
                                        const std::vector<int64_t>& first_row, const RowSlots& slots,
                                        int64_t positions) {
  std::vector<device::RowsTask> tasks;
  const int32_t at_once = device::row_stats_heads(slots.most);
  for_sequences(cu_seqlens, [&](int64_t begin, int64_t length, size_t b) {
    for (int64_t t = first_row[b]; t < length; t += positions) {
      for (size_t i = 1; i < slots.bounds.size(); ++i) {
        for (int32_t slot = slots.bounds[i - 1]; slot < slots.bounds[i]; slot += at_once) {
          tasks.push_back({narrow(begin), narrow(t), narrow(std::min(t + positions, length)), slot,
                           std::min(at_once, slots.bounds[i] - slot)});
        }
      }
    }
  });
  // So that no multiprocessor is left with a long one at the end.
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const device::RowsTask& a, const device::RowsTask& b) { return a.t_end > b.t_end; });
  return tasks;
}

std::vector<device::BandTask> band_tasks(const std::vector<int64_t>& cu_seqlens) {
  std::vector<device::BandTask> tasks;
  for_sequences(cu_seqlens, [&](int64_t begin, int64_t length, size_t) {
    for (int64_t t = 0; t < length; t += device::kTileRows)
      tasks.push_back({narrow(begin), narrow(t), narrow(std::min(t + device::kTileRows, length))});
  });
  return tasks;
}

std::vector<device::FaiTask> fai_tasks(const std::vector<int64_t>& cu_seqlens,
                                       const std::vector<int64_t>& first_row) {
  std::vector<device::FaiTask> tasks;
  for_sequences(cu_seqlens, [&](int64_t begin, int64_t length, size_t b) {
    for (int64_t s = 0; s < length; s += device::kTileRows) {
      tasks.push_back({narrow(begin), narrow(length), narrow(first_row[b]), narrow(s),
                       narrow(std::min(s + device::kTileRows, length))});
    }
  });
  return tasks;
}

AnchorTasks anchor_tasks(const std::vector<int64_t>& cu_seqlens, const std::vector<int64_t>& step_of,
                         const std::vector<std::vector<int64_t>>& anchors) {
  AnchorTasks out;
  std::vector<int32_t> key_begin;
  for (const std::vector<int64_t>& step : anchors) {
    key_begin.push_back(narrow(static_cast<int64_t>(out.keys.size())));
    for (int64_t key : step) out.keys.push_back(narrow(key));
  }
  for_sequences(cu_seqlens, [&](int64_t begin, int64_t length, size_t) {
    const auto step_at = [&](int64_t t) { return step_of[static_cast<size_t>(begin + t)]; };
    int64_t t_end = 0;
    for (int64_t t = 0; t < length; t = t_end) {
      const int64_t step = step_at(t), limit = std::min(length, t + device::kTileRows);
      for (t_end = t + 1; t_end < limit && step_at(t_end) == step;) ++t_end;
      if (step < 0 || anchors[static_cast<size_t>(step)].empty()) continue;
      const size_t i = static_cast<size_t>(step);
      out.tasks.push_back({narrow(begin), narrow(t), narrow(t_end), key_begin[i],
                           narrow(static_cast<int64_t>(anchors[i].size()))});
    }
  });
  return out;
}

int64_t logprob_backward_rows(int64_t num_rows, int64_t vocab, int64_t chunk_bytes, int64_t bytes) {
  const int64_t panel_bytes = kPanelRows * std::min(kTileColumns, vocab) * bytes;
  const int64_t panels = std::clamp<int64_t>(chunk_bytes / panel_bytes, 1, device::kMaxGridY / kPanelRows);
  return std::min(num_rows, panels * kPanelRows);
}

}  // namespace pan::kernels::cuda
