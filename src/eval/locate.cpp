#include "eval/locate.h"

#include <filesystem>

#include "core/error.h"
#include "core/file.h"

namespace pan::eval {
namespace {

bool has_weights(const std::string& folder) {
  return core::exists(folder + "/config.json") && (core::exists(folder + "/model.safetensors") ||
                                                   core::exists(folder + "/model.safetensors.index.json"));
}

std::string parent(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

// A link `latest` or `best` as its target, so that descriptions name the step.
ModelLocation at_checkpoint(std::string folder) {
  if (std::filesystem::is_symlink(folder)) {
    const std::filesystem::path target = std::filesystem::read_symlink(folder);
    folder = target.is_absolute() ? target.string() : parent(folder) + "/" + target.string();
  }
  const std::string run = parent(parent(folder));
  return {.policy_folder = folder + "/policy",
          .tokenizer_folder = folder + "/policy",
          .run_config = core::exists(run + "/config.json") ? run + "/config.json" : "",
          .checkpoint = folder,
          .description = folder};
}

}  // namespace

ModelLocation locate_model(const std::string& given) {
  std::string path = given;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  PAN_CHECK(core::is_folder(path), kData, "there is no such folder")
      .where(path)
      .expected("a folder")
      .got(core::exists(path) ? "a file" : "nothing of that name")
      .remedy("--model takes a run folder, a checkpoint or a Hugging Face folder");
  if (has_weights(path)) {
    if (path.size() > 7 && path.substr(path.size() - 7) == "/policy" &&
        core::exists(parent(path) + "/manifest.json"))
      return at_checkpoint(parent(path));
    return {.policy_folder = path,
            .tokenizer_folder = path,
            .run_config = "",
            .checkpoint = "",
            .description = path};
  }
  if (core::exists(path + "/manifest.json") && has_weights(path + "/policy")) return at_checkpoint(path);
  const std::string latest = path + "/checkpoints/latest";
  if (core::exists(latest + "/manifest.json")) return at_checkpoint(latest);
  throw core::Error(core::ErrorKind::kData, "no model was found")
      .where(path)
      .expected(
          "a Hugging Face folder (config.json, model.safetensors), a checkpoint (manifest.json, policy/) or "
          "a run folder with a checkpoint")
      .remedy("A run that was stopped before its first checkpoint has none yet: resume it first");
}

}  // namespace pan::eval
