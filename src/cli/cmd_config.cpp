#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "config/evaluation.h"
#include "core/error.h"
#include "core/log.h"
#include "core/nearest.h"
#include "core/schema.h"
#include "experiment/experiment_config.h"
#include "pan/task.h"
#include "sft/sft_trainer.h"

namespace pan::cli {
namespace {

void print_docs(const std::vector<core::FieldDoc>& fields, const std::string& under) {
  for (const core::FieldDoc& f : fields) {
    if (f.pointer.rfind(under, 0) != 0) continue;
    if (f.type == "object") {
      std::printf("\n%s: %s\n", f.pointer.c_str(), f.doc.c_str());
      continue;
    }
    std::printf("  %s = %s\n      %s%s%s%s%s\n      %s\n", f.pointer.c_str(), f.value.c_str(), f.type.c_str(),
                f.range.empty() ? "" : ", ", f.range.c_str(), f.unit.empty() ? "" : ", ", f.unit.c_str(),
                f.doc.c_str());
  }
}

// The files that have settings, by the command that reads them.
const std::vector<std::string> kTrees = {"train", "eval", "sft", "experiment"};

// The keys of `task` are those of the task that is named.
std::vector<core::FieldDoc> fields_of(const std::string& tree, const std::string& task) {
  if (tree == "experiment") {
    experiment::ExperimentConfig c;
    return core::explain_fields([&](core::Fields& f) { describe(f, c); });
  }
  if (tree == "sft") {
    sft::SftConfig c;
    c.task.name = task;
    return core::explain_fields([&](core::Fields& f) { describe(f, c); });
  }
  config::RunConfig c;
  c.task.name = task;
  std::vector<core::FieldDoc> fields = core::explain_fields([&](core::Fields& f) { describe(f, c); });
  if (tree == "eval")
    std::erase_if(fields, [](const core::FieldDoc& f) { return !config::matters_in_evaluation(f.pointer); });
  return fields;
}

// Whether the tree has keys below `prefix`; adds the names of all it has.
bool has_below(const std::string& tree, const std::string& prefix, std::vector<std::string>& names) {
  bool found = false;
  for (const std::string& task : tasks::names())
    for (const core::FieldDoc& f : fields_of(tree, task)) {
      found = found || f.pointer.rfind(prefix, 0) == 0;
      names.push_back(f.pointer.substr(1));
    }
  return found;
}

// `asked` where there is one, else the first tree that has such keys.
std::string tree_of(const std::string& asked, const std::string& prefix) {
  std::vector<std::string> names;
  for (const std::string& tree : asked.empty() ? kTrees : std::vector<std::string>{asked})
    if (has_below(tree, prefix, names)) return tree;
  const std::string near = core::nearest(prefix.substr(1), names);
  throw core::Error(core::ErrorKind::kUsage, "there is no such setting")
      .where("pan-ppo config explain" + (asked.empty() ? "" : " --for " + asked))
      .expected("a key such as " + std::string(asked == "experiment" ? "arms" : "task or prompt/template"))
      .got(prefix.substr(1))
      .remedy((near.empty() ? "" : "Did you mean " + near + "? ") +
              std::string("Without a key every setting is shown"));
}

int explain(const std::string& under, const std::string& asked) {
  std::string prefix = under.empty() || under[0] == '/' ? under : "/" + under;
  std::replace(prefix.begin(), prefix.end(), '.', '/');
  const std::string tree = tree_of(asked, prefix);
  const auto is_of_task = [](const core::FieldDoc& f) { return f.pointer.rfind("/task/", 0) == 0; };
  std::vector<core::FieldDoc> fields = fields_of(tree, tasks::names().front());
  const bool has_task = std::any_of(fields.begin(), fields.end(), is_of_task);
  std::erase_if(fields, [&](const core::FieldDoc& f) { return is_of_task(f) || f.pointer == "/task"; });
  print_docs(fields, prefix);
  if (!has_task || !(prefix.empty() || prefix.rfind("/task", 0) == 0)) return 0;
  for (const std::string& name : tasks::names()) {
    fields = fields_of(tree, name);
    std::erase_if(fields, [&](const core::FieldDoc& f) { return !is_of_task(f); });
    std::printf("\nwith /task/name = %s:\n", name.c_str());
    print_docs(fields, prefix);
  }
  return 0;
}

std::string tree_of_file(const core::Json& tree) {
  if (tree.contains("sft")) return "sft";
  return tree.contains("arms") ? "experiment" : "train";
}

core::Json what_matters(const core::Json& node, const std::string& pointer = "") {
  if (!node.is_object()) return node;
  core::Json kept = core::Json::object();
  for (const auto& [key, value] : node.items())
    if (config::matters_in_evaluation(pointer + "/" + key))
      kept[key] = what_matters(value, pointer + "/" + key);
  return kept;
}

core::Json evaluation_tree(core::Json tree, const std::string& path, const std::vector<std::string>& set,
                           const std::string& text) {
  if (tree.contains("sft")) tree = sft::as_run_config(tree);
  const config::Loaded loaded = config::load_evaluation(std::move(tree), path, set, text);
  for (const std::string& note : loaded.notes) core::log_warn(note);
  return what_matters(config::resolved(loaded.config));
}

int print(const std::string& path, const std::vector<std::string>& set, const std::string& asked) {
  const std::string text = config::config_text(path);
  core::Json json = core::parse_json(text, path, core::JsonDialect::kWithComments);
  const std::string tree = asked.empty() ? tree_of_file(json) : asked;
  core::Json resolved;
  if (tree == "sft") {
    const sft::LoadedSft loaded = sft::load_sft(path, set);
    for (const std::string& note : loaded.notes) core::log_warn(note);
    resolved = sft::resolved(loaded.config);
  } else if (tree == "experiment") {
    experiment::ExperimentConfig c = experiment::load_experiment(path, set).config;
    resolved = core::print_fields([&](core::Fields& f) { describe(f, c); });
  } else if (tree == "eval") {
    resolved = evaluation_tree(std::move(json), path, set, text);
  } else {
    const config::Loaded loaded = config::load_run(path, set);
    for (const std::string& note : loaded.notes) core::log_warn(note);
    resolved = config::resolved(loaded.config);
  }
  std::printf("%s\n", core::dump_json(resolved, 2).c_str());
  return 0;
}

}  // namespace

void add_config(CLI::App& app, Action& action) {
  struct Options {
    std::string under, path, tree;
    std::vector<std::string> set;
  };
  auto o = std::make_shared<Options>();
  CLI::App* config = app.add_subcommand("config", "Look at the configuration");
  config->require_subcommand(1);

  CLI::App* explain_command =
      config->add_subcommand("explain", "Every key with type, default, range, unit and meaning");
  explain_command->add_option("key", o->under, "Only keys below this one, e.g. rhythm or ppo/clip");
  explain_command
      ->add_option("--for", o->tree,
                   "Whose keys: train, eval, sft or experiment (default: the first that has the key)")
      ->check(CLI::IsMember(kTrees));
  explain_command->callback([o, &action] { action = [o] { return explain(o->under, o->tree); }; });

  CLI::App* print_command =
      config->add_subcommand("print", "The resolved tree: file, overrides and defaults");
  print_command->add_option("--config", o->path, "Configuration file")->required();
  print_command->add_option("--set", o->set, "Override one key: a.b=value; may be repeated")
      ->allow_extra_args(false);
  print_command
      ->add_option("--for", o->tree,
                   "What reads it: train, eval, sft or experiment; default: what its keys say")
      ->check(CLI::IsMember(kTrees));
  print_command->callback([o, &action] { action = [o] { return print(o->path, o->set, o->tree); }; });
}

}  // namespace pan::cli
