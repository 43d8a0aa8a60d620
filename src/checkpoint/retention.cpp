#include "checkpoint/retention.h"

#include <algorithm>
#include <filesystem>

#include "checkpoint/layout.h"
#include "core/error.h"
#include "core/log.h"

namespace pan::checkpoint {
namespace {

namespace fs = std::filesystem;

// Complete checkpoints that have the metric, best first; of equal ones the newer first.
std::vector<const Found*> ranked(const std::vector<Found>& found, const CheckpointConfig& keep) {
  std::vector<const Found*> rated;
  for (const Found& f : found) {
    if (f.complete() && f.metrics.contains(keep.metric)) rated.push_back(&f);
  }
  std::sort(rated.begin(), rated.end(), [&](const Found* a, const Found* b) {
    const double x = a->metrics.at(keep.metric), y = b->metrics.at(keep.metric);
    if (x != y) return keep.better == Better::kHigher ? x > y : x < y;
    return a->step > b->step;
  });
  return rated;
}

// One rename takes it out of sight before any of its files goes: half a checkpoint must never look like a
// whole one.
void remove_checkpoint(core::Disk& disk, const std::string& root, const std::string& folder) {
  const std::string hidden = root + "/" + internal::kDeletedPrefix + fs::path(folder).filename().string();
  disk.rename(folder, hidden);
  disk.sync_folder(root);
  disk.remove_all(hidden);
}

// Leaves a link alone that is right already: each change is a write to the disk.
void point(core::Disk& disk, const std::string& link, const std::string& target) {
  std::error_code code;
  if (fs::read_symlink(link, code) == target && !code) return;
  disk.symlink(target, link);
}

}  // namespace

std::vector<int64_t> steps_to_keep(const std::vector<Found>& found, const CheckpointConfig& keep) {
  std::vector<int64_t> steps;
  for (const Found& f : found) {
    if (f.complete()) steps.push_back(f.step);
  }
  std::sort(steps.begin(), steps.end());
  const size_t last = static_cast<size_t>(std::max<int64_t>(1, keep.keep_last));
  if (steps.size() > last) steps.erase(steps.begin(), steps.end() - static_cast<std::ptrdiff_t>(last));
  const std::vector<const Found*> best = ranked(found, keep);
  for (size_t i = 0; i < best.size() && static_cast<int64_t>(i) < keep.keep_best; ++i)
    steps.push_back(best[i]->step);
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  return steps;
}

int64_t best_step(const std::vector<Found>& found, const CheckpointConfig& keep) {
  const std::vector<const Found*> best = ranked(found, keep);
  return best.empty() ? -1 : best.front()->step;
}

void apply_retention(core::Disk& disk, const std::string& root, const CheckpointConfig& keep) {
  remove_leftovers(disk, root);
  const std::vector<Found> found = list_checkpoints(root);
  const std::vector<int64_t> kept = steps_to_keep(found, keep);
  if (kept.empty()) return;
  std::vector<Found> staying;
  for (const Found& f : found) {
    if (std::binary_search(kept.begin(), kept.end(), f.step)) staying.push_back(f);
  }
  const int64_t best = best_step(staying, keep);
  point(disk, root + "/" + internal::kLatestLink, step_name(kept.back()));
  if (best >= 0) point(disk, root + "/" + internal::kBestLink, step_name(best));
  disk.sync_folder(root);
  for (const Found& f : found) {
    if (f.complete() && !std::binary_search(kept.begin(), kept.end(), f.step))
      remove_checkpoint(disk, root, f.folder);
  }
}

void remove_leftovers(core::Disk& disk, const std::string& root) {
  for (const std::string& name : core::list_folder(root)) {
    const std::string path = root + "/" + name;
    if (name.starts_with(internal::kReplacedPrefix)) {
      const std::string original = name.substr(std::string_view(internal::kReplacedPrefix).size());
      if (!internal::step_of_name(original)) continue;
      if (!core::exists(root + "/" + original)) {
        core::log_info(root + "/" + original + " gets its name back: its replacement was never finished");
        disk.rename(path, root + "/" + original);
        disk.sync_folder(root);
      } else {
        remove_checkpoint(disk, root, path);
      }
    } else if (name.starts_with(internal::kTemporaryPrefix) || name.starts_with(internal::kDeletedPrefix)) {
      core::log_info(path + (name.starts_with(internal::kTemporaryPrefix)
                                 ? " is an unfinished checkpoint: ignored and removed"
                                 : " was being removed: removed"));
      disk.remove_all(path);
    }
  }
}

void discard_after(core::Disk& disk, const std::string& root, int64_t step) {
  open_step(root, step);
  remove_leftovers(disk, root);
  const std::vector<Found> found = list_checkpoints(root);
  point(disk, root + "/" + internal::kLatestLink, step_name(step));
  for (auto f = found.rbegin(); f != found.rend();
       ++f) {  // newest first: what is left is always a past of one run
    if (f->step > step) {
      core::log_info("removing checkpoint " + f->folder + ": the run goes on from step " +
                     std::to_string(step));
      remove_checkpoint(disk, root, f->folder);
    }
  }
}

}  // namespace pan::checkpoint
