// Where the values of a configuration came from, for error messages.
//
//   config::Places places("run.json", text);
//   places.apply(tree, {"ppo.minibatch_size=3"});
//   ... catch (core::Error& e) { places.add_to(e, pointers); throw; }
#pragma once

#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/schema.h"

namespace pan::config {

class Places {
 public:
  Places() = default;
  // `text` of the file called `source`; empty where it is not known.
  Places(std::string source, std::string text) : source_(std::move(source)), text_(std::move(text)) {}

  // Puts overrides onto the tree and remembers what they set. Error: kUsage.
  void apply(core::Json& tree, const std::vector<std::string>& overrides);

  // 1-based line of the value, 0 = a default or unknown, core::kFromOverride.
  int line_of(const std::string& pointer) const;

  // Gives an error of kind kConfig that names a setting ("/ppo/minibatch_size") and no file what it lacks:
  // the file, the line, and the lines of the other settings that its text mentions
  // ("train.samples_per_prompt"). `pointers`: every setting there is.
  void add_to(core::Error& error, const std::vector<std::string>& pointers) const;

 private:
  std::string place_of(const std::string& pointer) const;

  std::string source_, text_;
  std::set<std::string> overridden_;
};

// Every setting's pointer, those of the tree behind `describe`.
std::vector<std::string> pointers_of(const core::Describe& describe);

// Error: kConfig where the tree's `task` holds a key that only another task has, with what to do about it:
// --set task.name alone does not change the rest of a file's task.
void check_task_keys(const core::Json& tree, const Places& places, const std::string& source);

}  // namespace pan::config
