// Finding and opening checkpoints.
//
//   checkpoint::Checkpoint c = checkpoint::open_latest(run_dir + "/checkpoints");
//   kl.load(c.section("kl", 1));
//   load(c.file("policy/model.safetensors"));
//
// A checkpoint is a folder step_NNNNNN with a valid manifest whose files all have their sizes. Anything else
// is not one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "core/json.h"

namespace pan::checkpoint {

class Checkpoint {
 public:
  // `folder`: the checkpoint's own folder, or a link to it (latest, best). Errors: kData with the file's
  // name, what was expected and what was found.
  explicit Checkpoint(const std::string& folder, Verify verify = Verify::kSizes);

  int64_t step() const { return manifest_.step; }
  const std::string& folder() const { return folder_; }
  const std::map<std::string, double>& metrics() const { return manifest_.metrics; }
  const std::vector<ManifestFile>& files() const { return manifest_.files; }
  uint64_t size_bytes() const;  // of all files

  bool has_section(const std::string& name) const;
  // The JSON a part stored, and the version it stored it with (>= 1).
  // Errors: kData when the section is missing, or its version is beyond `max_version`.
  core::Json section(const std::string& name, int64_t max_version) const;
  int64_t section_version(const std::string& name) const;

  bool has_file(const std::string& relative) const;
  bool has_folder(const std::string& relative) const;  // with at least one file in it
  // The full path of a listed file or of a folder that holds one. Error: kData when there is none.
  std::string file(const std::string& relative) const;

 private:
  std::string folder_;
  Manifest manifest_;
  std::shared_ptr<const core::Json> sections_;
};

// "step_000012"
std::string step_name(int64_t step);

struct Found {
  int64_t step = 0;
  std::string folder;
  std::string problem;                    // why it is not a complete checkpoint; empty = complete
  std::map<std::string, double> metrics;  // of complete ones

  bool complete() const { return problem.empty(); }
};
// Everything in `root` that looks like a checkpoint, by step, newest last. No root: empty. Checks manifest
// and sizes.
std::vector<Found> list_checkpoints(const std::string& root);

// The newest complete checkpoint; incomplete or (with kChecksums) damaged newer ones are passed over with a
// warning each. None: nothing, or for open_latest an error of kind kData that says what was found instead.
std::optional<Checkpoint> find_latest(const std::string& root, Verify verify = Verify::kSizes);
Checkpoint open_latest(const std::string& root, Verify verify = Verify::kSizes);

// Where a run goes on: the newest complete checkpoint, checksums verified; none in a run that has written
// none yet. Error: kData where there are checkpoints and every one is damaged: a kill leaves none that is not
// whole, and a fresh start would overwrite the run.
std::optional<Checkpoint> find_to_resume(const std::string& root);

// What a person may give for a checkpoint: its folder, a folder of checkpoints, or a run folder (the newest
// one of its checkpoints/). Errors: kData.
Checkpoint open_any(const std::string& path, Verify verify = Verify::kSizes);
// Whether `path` is one of these three, complete or not, rather than a plain model folder.
bool is_checkpoint_path(const std::string& path);

// That step or an error of kind kData which lists the steps there are.
Checkpoint open_step(const std::string& root, int64_t step, Verify verify = Verify::kSizes);

}  // namespace pan::checkpoint
