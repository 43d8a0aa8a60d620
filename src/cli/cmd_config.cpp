#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "config/load.h"
#include "config/run_config.h"
#include "core/error.h"
#include "core/log.h"
#include "core/nearest.h"
#include "core/schema.h"
#include "pan/task.h"
#include "sft/sft_config.h"

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

bool any_below(const core::Describe& describe, const std::string& prefix, std::vector<std::string>& names) {
  bool found = false;
  for (const core::FieldDoc& f : core::explain_fields(describe)) {
    found = found || f.pointer.rfind(prefix, 0) == 0;
    names.push_back(f.pointer.substr(1));
  }
  return found;
}

// Whether a run has such keys; those of supervised training are shown here.
bool is_run_key(const std::string& prefix) {
  std::vector<std::string> names;
  bool found = false;
  for (const std::string& task : tasks::names()) {
    config::RunConfig run;
    run.task.name = task;
    found = any_below([&](core::Fields& f) { describe(f, run); }, prefix, names) || found;
  }
  if (found) return true;
  sft::SftConfig supervised;
  const core::Describe tree = [&](core::Fields& f) { describe(f, supervised); };
  if (any_below(tree, prefix, names)) {
    print_docs(core::explain_fields(tree), prefix);
    return false;
  }
  const std::string near = core::nearest(prefix.substr(1), names);
  throw core::Error(core::ErrorKind::kUsage, "there is no such setting")
      .where("pan-ppo config explain")
      .expected("a key such as rhythm or ppo/clip_low")
      .got(prefix.substr(1))
      .remedy((near.empty() ? "" : "Did you mean " + near + "? ") +
              std::string("Without a key every setting is shown"));
}

int explain(const std::string& under) {
  config::RunConfig c;
  std::string prefix = under.empty() || under[0] == '/' ? under : "/" + under;
  std::replace(prefix.begin(), prefix.end(), '.', '/');
  if (!is_run_key(prefix)) return 0;
  // The keys of `task` are those of the task that is named, so each task is shown once.
  bool first = true;
  for (const std::string& name : tasks::names()) {
    c.task.name = name;
    std::vector<core::FieldDoc> fields = core::explain_fields([&](core::Fields& f) { describe(f, c); });
    std::erase_if(fields,
                  [&](const core::FieldDoc& f) { return (f.pointer.rfind("/task", 0) == 0) != !first; });
    if (first) {
      print_docs(fields, prefix);
      fields = core::explain_fields([&](core::Fields& f) { describe(f, c); });
      std::erase_if(fields, [](const core::FieldDoc& f) { return f.pointer.rfind("/task/", 0) != 0; });
    }
    if (prefix.empty() || prefix.rfind("/task", 0) == 0) {
      std::printf("\nwith /task/name = %s:\n", name.c_str());
      print_docs(fields, prefix);
    }
    first = false;
  }
  return 0;
}

}  // namespace

void add_config(CLI::App& app, Action& action) {
  CLI::App* config = app.add_subcommand("config", "Look at the configuration");
  config->require_subcommand(1);

  auto under = std::make_shared<std::string>();
  CLI::App* explain_command =
      config->add_subcommand("explain", "Every key with type, default, range, unit and meaning");
  explain_command->add_option("key", *under, "Only keys below this one, e.g. rhythm or ppo/clip");
  explain_command->callback([under, &action] { action = [under] { return explain(*under); }; });

  auto path = std::make_shared<std::string>();
  auto set = std::make_shared<std::vector<std::string>>();
  CLI::App* print = config->add_subcommand("print", "The resolved tree: file, overrides and defaults");
  print->add_option("--config", *path, "Configuration file")->required();
  print->add_option("--set", *set, "Override one key: a.b=value; may be repeated")->allow_extra_args(false);
  print->callback([path, set, &action] {
    action = [path, set] {
      const config::Loaded loaded = config::load_run(*path, *set);
      for (const std::string& note : loaded.notes) core::log_warn(note);
      std::printf("%s\n", core::dump_json(config::resolved(loaded.config), 2).c_str());
      return 0;
    };
  });
}

}  // namespace pan::cli
