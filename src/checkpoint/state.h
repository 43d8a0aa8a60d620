// What a part of a run hands to a checkpoint: a named section with a version and JSON. Tensors do not belong
// into a section; their owner writes them as safetensors into the checkpoint's folder.
//
//   class KlState : public checkpoint::Stateful { ... };
//   checkpoint::save_all(writer, {&kl, &moments, &counters});
//   checkpoint::load_all(opened, {&kl, &moments, &counters});
//
// Parts that have plain state() and load() functions need no class: writer.add_section and opened.section do
// the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace pan::checkpoint {

class Checkpoint;
class CheckpointWriter;

class Stateful {
 public:
  virtual ~Stateful() = default;
  virtual std::string section_name() const = 0;  // never renamed: old checkpoints carry it
  virtual int64_t section_version() const = 0;   // raised whenever the meaning of the JSON changes
  virtual core::Json save_state() const = 0;     // changes nothing
  // `version` <= section_version(). Errors: kData; the object must stay destructible after one.
  virtual void load_state(const core::Json& state, int64_t version) = 0;
};

void save_all(CheckpointWriter& writer, const std::vector<const Stateful*>& parts);
// Errors: kData when a section is missing or newer than its reader.
void load_all(const Checkpoint& checkpoint, const std::vector<Stateful*>& parts);

}  // namespace pan::checkpoint
