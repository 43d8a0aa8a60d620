// What a person means by --model: a run folder, a checkpoint, or a Hugging Face folder.
//
//   eval::ModelLocation m = eval::locate_model("runs/a");      // newest complete checkpoint's policy, and
//   the run's config.json
#pragma once

#include <string>

namespace pan::eval {

struct ModelLocation {
  std::string policy_folder;  // Hugging Face folder with weights
  std::string tokenizer_folder;
  std::string run_config;   // config.json of the run it came from; empty for a plain Hugging Face folder
  std::string checkpoint;   // checkpoint folder; empty for a plain Hugging Face folder
  std::string description;  // "runs/a, iteration 40"
};

// RUN_DIR -> its newest complete checkpoint (RUN_DIR/checkpoints/best and the like work too); CHECKPOINT
// folder; HF folder. Errors: kData with what was looked for.
ModelLocation locate_model(const std::string& path);

}  // namespace pan::eval
