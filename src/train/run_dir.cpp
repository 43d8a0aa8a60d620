#include "train/run_dir.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace pan::train {
namespace {

constexpr char kReadme[] = R"(# A pan-ppo run

| file | what it holds |
|---|---|
| `config.json` | the resolved configuration, every key |
| `metrics.jsonl` | one JSON line per iteration and per evaluation |
| `rollouts.jsonl` | sampled answers with their rewards: by term (`total` = `task` + `length_penalty` + `kl` + `rhythm`) and by reasoning step |
| `log.txt` | what the terminal showed |
| `tensorboard/` | the same metrics as event files (`tensorboard --logdir .`) |
| `eval/` | results and samples of each evaluation |
| `checkpoints/step_NNNNNN/` | `policy/` and `critic/` are Hugging Face folders (adapters merged; with `model.lora`, `policy_adapter/` is for PEFT); the rest is what a resume needs. A folder without `manifest.json` is incomplete and ignored |
| `checkpoints/latest`, `checkpoints/best` | links to the newest and the best checkpoint |

Go on with it: `pan-ppo resume THIS_FOLDER`. Evaluate it: `pan-ppo eval --model THIS_FOLDER --output DIR`.
)";

constexpr char kSftReadme[] = R"(# A supervised pan-ppo run

| file | what it holds |
|---|---|
| `config.json` | the resolved configuration, every key |
| `metrics.jsonl` | one JSON line per logged step and per evaluation |
| `log.txt` | what the terminal showed |
| `eval/` | results and samples of each evaluation, where `eval.every` asks for any |
| `checkpoints/step_NNNNNN/` | `policy/` is a Hugging Face folder (adapters merged; with `model.lora`, `policy_adapter/` is for PEFT); the rest is what a resume needs. A folder without `manifest.json` is incomplete and ignored |
| `checkpoints/latest`, `checkpoints/best` | links to the newest and, after evaluations, the best checkpoint |

Go on with it: `pan-ppo resume THIS_FOLDER`. Evaluate it: `pan-ppo eval --model THIS_FOLDER --output DIR`.
)";

// Nothing but what create() itself writes before config.json: a kill in there must not stop the next start.
bool holds_nothing(const std::string& path) {
  if (!core::is_folder(path) || core::exists(path + "/config.json")) return false;
  for (const std::string& name : core::list_folder(path)) {
    const bool ours = name == ".lock" || name == "README.md" || name == "README.md.tmp" ||
                      name == "config.json.tmp" ||
                      (name == "checkpoints" && core::list_folder(path + "/" + name).empty());
    if (!ours) return false;
  }
  return true;
}

// The first few names in a folder, for messages.
std::string some_names(const std::string& path) {
  std::string text;
  size_t n = 0;
  const std::vector<std::string> names = core::list_folder(path);
  for (; n < names.size() && n < 3; ++n) text += (n ? ", " : "") + names[n];
  return n < names.size() ? text + " and more" : text;
}

}  // namespace

RunDir::RunDir(std::string path) : path_(std::move(path)) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
}

std::string RunDir::eval_folder(int64_t iteration) const {
  char name[32];
  std::snprintf(name, sizeof name, "/eval/step_%06lld", static_cast<long long>(iteration));
  return path_ + name;
}

bool RunDir::is_run(const std::string& path) {
  return core::exists(path + "/config.json") && core::is_folder(path + "/checkpoints");
}

void RunDir::check_free(const std::string& path) {
  const RunDir dir(path);
  PAN_CHECK(!is_run(dir.path_), kConfig, "the run folder holds a run already")
      .where(dir.path_)
      .expected("a new or an empty folder")
      .got("a run")
      .remedy("Choose another --run-dir, or go on with that run: pan-ppo resume " + dir.path_ +
              " (--auto-resume does whichever fits)");
  PAN_CHECK(!core::exists(dir.path_) || core::is_folder(dir.path_), kConfig, "the run folder is a file")
      .where(dir.path_)
      .expected("a new or an empty folder")
      .got("a file")
      .remedy("Choose another --run-dir");
  PAN_CHECK(!core::exists(dir.path_) || holds_nothing(dir.path_), kConfig, "the run folder is not empty")
      .where(dir.path_)
      .expected("a new or an empty folder")
      .got("a folder with " + some_names(dir.path_) + ", which is not a run")
      .remedy("Choose another --run-dir");
  core::check_can_write(dir.path_, "Choose another --run-dir");
}

RunDir RunDir::create(const std::string& path, const core::Json& config, RunKind kind) {
  check_free(path);
  RunDir dir(path);
  try {
    core::disk().make_folders(dir.checkpoints());
  } catch (core::Error& error) {
    throw error.expected("a place where this user may write").remedy("Choose another --run-dir");
  }
  dir.lock_ = std::make_unique<core::FolderLock>(dir.path_);
  check_free(path);  // another process may have been quicker
  core::write_file_atomic(core::disk(), dir.path_ + "/README.md",
                          kind == RunKind::kSft ? kSftReadme : kReadme);
  dir.write_config(config);
  return dir;
}

RunDir RunDir::open(const std::string& path) {
  RunDir dir(path);
  PAN_CHECK(is_run(dir.path_), kData, "this is not a run folder")
      .where(dir.path_)
      .expected("config.json and checkpoints/")
      .got(core::exists(dir.path_) ? "neither" : "nothing of that name")
      .remedy("Give the folder that `pan-ppo train` made (--run-dir)");
  dir.lock_ = std::make_unique<core::FolderLock>(dir.path_);
  return dir;
}

void RunDir::write_config(const core::Json& config) const {
  core::write_file_atomic(core::disk(), config_path(), core::dump_json(config, 2) + "\n");
}

void RunDir::advise_on_disk(core::Error& error, const std::string& unit, int64_t last_saved) const {
  if (error.kind() != core::ErrorKind::kIo) return;
  if (error.expected_text().empty()) error.expected("room for what the run writes");
  const std::string kept =
      last_saved < 0 ? "there is no checkpoint yet"
                     : "the checkpoint of " + unit + " " + std::to_string(last_saved) + " is untouched";
  error.remedy("Free some space or mend the disk; " + kept + ", go on with: pan-ppo resume " + path_);
}

}  // namespace pan::train
