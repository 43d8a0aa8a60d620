// Writing a checkpoint so that neither a kill at any moment, nor a full disk, nor lost unsynced bytes can
// cost the one before it.
//
//   checkpoint::CheckpointWriter w(run_dir + "/checkpoints", step);
//   model::save_decoder(w.make_folder("policy"), ...);                    // files through core::disk()
//   w.expect_checksum("optimizer.safetensors", model::write_safetensors(w.folder() +
//   "/optimizer.safetensors", tensors)); w.add_section("kl", 1, kl.state()); w.set_metrics({{"eval/accuracy",
//   0.41}}); w.publish(config.checkpoint);
//
// Order of work: everything into .tmp-step_NNNNNN; each file and folder synced; manifest.json with sizes and
// checksums last, synced; one rename to step_NNNNNN; the folder above synced; links; old checkpoints removed.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "checkpoint/checkpoint_config.h"
#include "core/file.h"
#include "core/json.h"

namespace pan::checkpoint {

class CheckpointWriter {
 public:
  // Removes what interrupted writers left in `root` and makes the temporary folder. One writer per root at a
  // time (the run folder's lock sees to that). Errors: kIo.
  CheckpointWriter(const std::string& root, int64_t step, core::Disk& disk = core::disk());
  ~CheckpointWriter();  // without publish: removes the temporary folder, reports nothing
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  int64_t step() const { return step_; }
  const std::string& folder() const { return temporary_; }  // write files here until publish
  std::string make_folder(const std::string& relative);     // one below it; returns its path

  // Numbers must be finite and texts UTF-8: a checkpoint that loads as something else is refused. Errors:
  // kInternal (that, or a name used twice).
  void add_section(const std::string& name, int64_t version, const core::Json& state);

  // What the writer of a file knows its CRC-32C to be: publish() compares it with what can be read back.
  void expect_checksum(const std::string& relative, const std::string& crc32c);

  // Figures of this step that decide what is best; non-finite ones are left out.
  void set_metrics(const std::map<std::string, double>& metrics);

  // Makes it a checkpoint and returns its folder. A complete checkpoint of the same step is replaced.
  // Afterwards sets the links `latest` and `best` and removes what `keep` does not keep; failing at that is a
  // warning, the checkpoint stands. Errors: kIo, with nothing changed and the temporary folder removed where
  // the disk lets us.
  std::string publish(const CheckpointConfig& keep);

 private:
  void write_sections();
  std::string list_files();
  void move_into_place();

  core::Disk& disk_;
  std::string root_, temporary_, final_;
  int64_t step_;
  bool published_ = false;
  std::map<std::string, std::string> sections_;  // name -> JSON text of {"version", "state"}
  std::map<std::string, std::string> expected_;
  std::map<std::string, double> metrics_;
};

}  // namespace pan::checkpoint
