// The folder of a run: what is where, who may write into it.
//
//   RunDir dir = RunDir::create("runs/a", resolved_config);   // refuses a folder that holds a run
//   RunDir dir = RunDir::open("runs/a");                       // to go on with it
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace pan::train {

enum class RunKind { kTrain, kSft };  // decides what the folder's README tells of

class RunDir {
 public:
  // Makes the folder with config.json and README.md and locks it. Errors: kConfig when it holds a run already
  // (with the commands to resume it or to name another one) or another process uses it; kIo.
  static RunDir create(const std::string& path, const core::Json& config, RunKind kind = RunKind::kTrain);
  // What create() refuses, without making anything: asked before models are loaded. Error: kConfig, kIo.
  static void check_free(const std::string& path);
  // Locks an existing run. Errors: kData when it is not a run folder; kConfig when another process uses it.
  static RunDir open(const std::string& path);
  static bool is_run(const std::string& path);

  const std::string& path() const { return path_; }
  std::string config_path() const { return path_ + "/config.json"; }
  std::string metrics_path() const { return path_ + "/metrics.jsonl"; }
  std::string rollouts_path() const { return path_ + "/rollouts.jsonl"; }
  std::string log_path() const { return path_ + "/log.txt"; }
  std::string tensorboard_folder() const { return path_ + "/tensorboard"; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string eval_folder(int64_t iteration) const;

  // Replaces config.json (a resume with other settings).
  void write_config(const core::Json& config) const;

  // Adds to an error of the disk (others are left alone) what is untouched and how to go on: the checkpoint
  // of `unit` ("iteration", "step") number `last_saved`; below 0: none yet.
  void advise_on_disk(core::Error& error, const std::string& unit, int64_t last_saved) const;

 private:
  explicit RunDir(std::string path);
  std::string path_;
  std::unique_ptr<core::FolderLock> lock_;
};

}  // namespace pan::train
