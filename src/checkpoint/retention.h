// Which checkpoints stay. Only complete ones count and only complete ones are removed; the newest complete
// one always stays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_config.h"
#include "checkpoint/reader.h"
#include "core/file.h"

namespace pan::checkpoint {

// Steps to keep of `found`, ascending: the newest keep_last and the best keep_best by keep.metric (ties: the
// newer; ones without the metric are never best). Pure.
std::vector<int64_t> steps_to_keep(const std::vector<Found>& found, const CheckpointConfig& keep);

// The complete checkpoint that is best by keep.metric; -1 where none has it.
int64_t best_step(const std::vector<Found>& found, const CheckpointConfig& keep);

// Points `latest` and `best` at what stays, then removes the rest and whatever interrupted writers left.
// Errors: kIo.
void apply_retention(core::Disk& disk, const std::string& root, const CheckpointConfig& keep);

// Removes temporary and half-removed folders; a checkpoint whose replacement never came gets its name back.
// Errors: kIo.
void remove_leftovers(core::Disk& disk, const std::string& root);

// Removes the checkpoints after `step`: for a run that goes back to an older one, whose later ones are of
// another past. Errors: kIo; kData when `step` is not a complete checkpoint (then nothing is removed).
void discard_after(core::Disk& disk, const std::string& root, int64_t step);

}  // namespace pan::checkpoint
