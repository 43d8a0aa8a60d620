#include "experiment/experiment_config.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "config/load.h"
#include "core/error.h"
#include "core/file.h"
#include "core/nearest.h"
#include "metrics/catalog.h"

namespace pan::experiment {
namespace {

using core::Json;

std::vector<std::string> path_of(const std::string& key) {
  const char separator = !key.empty() && key[0] == '/' ? '/' : '.';
  std::vector<std::string> parts;
  for (size_t start = separator == '/' ? 1 : 0; start <= key.size();) {
    const size_t end = std::min(key.find(separator, start), key.size());
    parts.push_back(key.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

bool is_name(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.' || c == '+';
  });
  return plain && !name.empty() && name[0] != '.' && name[0] != '-';
}

core::Error bad(const std::string& what, const std::string& source, const std::string& pointer) {
  return core::Error(core::ErrorKind::kConfig, what).where(source).pointer(pointer);
}

Json object_of(const std::string& text, const std::string& source, const std::string& pointer) {
  Json json = core::parse_json(text, source);
  if (!json.is_object()) throw bad("this has to be an object", source, pointer).expected("{...}").got(text);
  return json;
}

Json base_of(const ExperimentConfig& c, const std::string& source) {
  Json base = core::parse_json(c.base, source);
  if (base.is_string()) {
    const auto path = base.get<std::string>();
    if (!core::exists(path))
      throw bad("there is no such base configuration", source, "/base")
          .expected("a configuration file; a relative path counts from the working folder")
          .got(path)
          .remedy("Start from the folder that the path counts from, such as the repository's root");
    return core::parse_json(config::config_text(path), path, core::JsonDialect::kWithComments);
  }
  if (!base.is_object() || base.empty())
    throw bad("an experiment needs a base", source, "/base")
        .expected("the path of a run's configuration, or the configuration itself")
        .got(c.base);
  return base;
}

// An arm's own settings are taken out of its changes.
bool take_flag(Json& changes, const char* key, const std::string& source, const std::string& pointer) {
  const auto at = changes.find(key);
  if (at == changes.end()) return false;
  if (!at->is_boolean())
    throw bad("a setting of an arm has another type", source, pointer + "/" + key)
        .expected("true or false")
        .got(core::dump_json(*at));
  const bool value = at->get<bool>();
  changes.erase(key);
  return value;
}

std::vector<std::string> take_against(Json& changes, std::vector<std::string> fallback,
                                      const std::string& source, const std::string& pointer) {
  const auto at = changes.find("against");
  if (at == changes.end()) return fallback;
  const Json list = at->is_string() ? Json::array({*at}) : *at;
  const bool fits = list.is_array() &&
                    std::all_of(list.begin(), list.end(), [](const Json& name) { return name.is_string(); });
  if (!fits)
    throw bad("a setting of an arm has another type", source, pointer + "/against")
        .expected("the name of an arm, or a list of names")
        .got(core::dump_json(*at));
  changes.erase("against");
  return list.get<std::vector<std::string>>();
}

std::vector<std::string> names_of(const std::vector<Arm>& arms) {
  std::vector<std::string> names;
  for (const Arm& arm : arms) names.push_back(arm.name);
  return names;
}

void check_is_arm(const std::string& name, const Experiment& e, const std::string& pointer) {
  const std::vector<std::string> names = names_of(e.arms);
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  std::string all;
  for (const std::string& n : names) all += (all.empty() ? "" : ", ") + n;
  const std::string near = core::nearest(name, names);
  throw bad("there is no such arm", e.source, pointer)
      .expected("one of " + all)
      .got(name)
      .remedy(near.empty() ? "Name one of the arms" : "Did you mean " + near + "?");
}

// Each pair once, in one direction: Holm's correction counts them.
void check_comparisons(const Experiment& e) {
  std::map<std::set<std::string>, std::string> pairs;  // and the arm that named it first
  for (const Arm& arm : e.arms) {
    const std::string pointer = "/arms/" + arm.name + "/against";
    for (const std::string& against : arm.against) {
      check_is_arm(against, e, pointer);
      if (against == arm.name)
        throw bad("an arm cannot be compared with itself", e.source, pointer)
            .expected("another arm")
            .got(against);
      const auto [first, is_new] = pairs.insert({{arm.name, against}, arm.name});
      if (!is_new)
        throw bad("two arms are compared twice", e.source, pointer)
            .expected("each pair once; " + first->second + " is compared with " +
                      (first->second == arm.name ? against : arm.name) + " already")
            .got(against)
            .remedy("Take " + against + " out of " + pointer);
    }
  }
  if (pairs.empty())
    throw bad("nothing is compared", e.source, "/arms")
        .expected("an arm with another one in its `against`")
        .got("none")
        .remedy("Leave `against` out: then an arm is compared with the baseline");
}

core::Error no_figure(const std::string& what, const Experiment& e, const std::string& pointer,
                      const std::string& key) {
  std::vector<std::string> names;
  for (const metrics::KeyInfo& info : metrics::catalog())
    if (pointer != "/metric" || info.key.rfind("eval/", 0) == 0) names.push_back(info.key);
  const std::string near = core::nearest(key, names);
  return bad(what, e.source, pointer)
      .expected(pointer == "/metric" ? "eval/accuracy or another key of eval/ in docs/metrics.md"
                                     : "a key of docs/metrics.md")
      .got(key)
      .remedy(near.empty() ? "docs/metrics.md lists every figure" : "Did you mean " + near + "?");
}

// Before anything is run; names that only the task knows are looked at by preflight().
void check_figures(const Experiment& e) {
  const ExperimentConfig& c = e.config;
  if (c.metric.rfind("eval/", 0) != 0 || metrics::find_key(c.metric) == nullptr)
    throw no_figure("arms are compared by a figure of the last evaluation", e, "/metric", c.metric);
  for (size_t i = 0; i < c.curves.size(); ++i)
    if (metrics::find_key(c.curves[i]) == nullptr)
      throw no_figure("no run has such a figure", e, "/curves/" + std::to_string(i), c.curves[i]);
}

void check(const Experiment& e) {
  const ExperimentConfig& c = e.config;
  if (e.arms.size() < 2)
    throw bad("an experiment compares arms", e.source, "/arms")
        .expected("two or more")
        .got(std::to_string(e.arms.size()));
  if (c.seeds.empty() || std::set<int64_t>(c.seeds.begin(), c.seeds.end()).size() != c.seeds.size())
    throw bad("an experiment needs seeds, each once", e.source, "/seeds")
        .expected("a list such as [1, 2, 3]")
        .got(core::dump_json(Json(c.seeds)));
  check_figures(e);
  if (c.output.empty())
    throw bad("an experiment needs a folder for its runs", e.source, "/output")
        .expected("a folder such as runs/my_experiment")
        .got("nothing")
        .remedy("Set output in the file, or --output DIR");
  check_is_arm(c.baseline, e, "/baseline");
  check_comparisons(e);
}

// The experiment itself gives each run its seed and its threads.
void refuse_own_keys(const Json& changes, const std::string& source, const std::string& pointer) {
  for (const char* key : {"seed", "threads"})
    if (changes.contains(key))
      throw bad(std::string(key) + " is set by the experiment, for all arms alike", source,
                pointer + "/" + key)
          .expected("nothing")
          .got(core::dump_json(changes[key]))
          .remedy(std::string("Use the experiment's ") +
                  (std::string(key) == "seed" ? "seeds" : "threads_per_run") + " instead");
}

Arm read_arm(const std::string& name, const Json& value, const Json& base, const ExperimentConfig& c,
             const std::string& source) {
  const std::string pointer = "/arms/" + name;
  if (!is_name(name))
    throw bad("an arm's name is also that of a folder", source, pointer)
        .expected("letters, digits, _ - . +")
        .got("\"" + name + "\"");
  if (!value.is_object())
    throw bad("an arm is an object of changes", source, pointer)
        .expected("{...}")
        .got(core::dump_json(value));
  Json own = value;
  Arm arm{.name = name, .evaluate_only = false, .against = {}, .config = {}, .changes = {}};
  arm.evaluate_only = take_flag(own, "evaluate_only", source, pointer);
  arm.against = take_against(
      own, name == c.baseline ? std::vector<std::string>{} : std::vector<std::string>{c.baseline}, source,
      pointer);
  Json changes = Json::object(), tree = base;
  merge(changes, own, source + " at " + pointer);
  refuse_own_keys(changes, source, pointer);
  merge(tree, own, source + " at " + pointer);
  arm.changes = core::dump_json(changes);
  arm.config = core::dump_json(tree);
  return arm;
}

void read_arms(Experiment& e) {
  const ExperimentConfig& c = e.config;
  Json base = base_of(c, e.source);
  const Json set = object_of(c.set, e.source, "/set");
  Json changes = Json::object();
  merge(changes, set, e.source + " at /set");
  refuse_own_keys(changes, e.source, "/set");
  merge(base, set, e.source + " at /set");
  e.base = core::dump_json(base);
  const Json arms = object_of(c.arms, e.source, "/arms");
  for (const auto& [name, value] : arms.items()) e.arms.push_back(read_arm(name, value, base, c, e.source));
}

}  // namespace

void describe(core::Fields& f, ExperimentConfig& c) {
  f.text("name", c.name, {.doc = "Title of the report; empty = the file's name."});
  f.json_text("base", c.base, "Path of a run's configuration, or the configuration itself.");
  f.json_text("set", c.set, "Changes of the base that all arms share.");
  f.json_text("arms", c.arms,
              "Changes by arm: {\"name\": {\"rhythm.lambda\": 0}}. An arm's own settings beside the changes: "
              "evaluate_only (true: the model is not trained), against (the arm or the list of arms it is "
              "compared with; left out: the baseline).");
  f.text("baseline", c.baseline, {.doc = "The arm that the others are compared with."});
  f.integer_list("seeds", c.seeds, {.min = 0, .doc = "One run of each arm with each seed."});
  f.text("output", c.output, {.doc = "Folder for runs and report.", .is_path = true});
  f.integer("parallel", c.parallel, {.min = 1, .unit = "run", .doc = "Runs at a time."});
  f.integer("threads_per_run", c.threads_per_run,
            {.min = 1, .unit = "thread", .doc = "Processor threads of each run."});
  f.text("metric", c.metric, {.doc = "Figure of the last evaluation that arms are compared by."});
  f.number("alpha", c.alpha,
           {.min = 0, .max = 1, .exclusive_min = true, .exclusive_max = true, .doc = "Level of the tests."});
  f.number("difference_of_interest", c.difference_of_interest,
           {.min = 0,
            .exclusive_min = true,
            .doc = "Difference of the metric for which the report says how many seeds would be needed."});
  f.number("power", c.power,
           {.min = 0,
            .max = 1,
            .exclusive_min = true,
            .exclusive_max = true,
            .doc = "Probability of seeing it that is asked for."});
  f.text_list("curves", c.curves, {.doc = "Metrics drawn by iteration, one picture each."});
}

void merge(Json& tree, const Json& changes, const std::string& source) {
  for (const auto& [key, value] : changes.items()) {
    Json* node = &tree;
    for (const std::string& part : path_of(key)) {
      if (part.empty())
        throw bad("a change has an empty name in its path", source, "\"" + key + "\"").got("\"" + key + "\"");
      if (node->is_null()) *node = Json::object();
      if (!node->is_object())
        throw bad("a change goes through a plain value", source, "\"" + key + "\"")
            .expected("an object above " + part)
            .got(core::dump_json(*node));
      node = &(*node)[part];
    }
    if (value.is_object() && node->is_object())
      merge(*node, value, source);
    else if (value.is_object()) {
      *node = Json::object();
      merge(*node, value, source);
    } else {
      *node = value;
    }
  }
}

Experiment load_experiment(const std::string& path, const std::vector<std::string>& overrides) {
  const std::string text = config::config_text(path);
  Json tree = core::parse_json(text, path, core::JsonDialect::kWithComments);
  config::Places places(path, text);
  places.apply(tree, overrides);
  Experiment e{.config = {}, .base = {}, .arms = {}, .source = path};
  core::read_fields([&](core::Fields& f) { describe(f, e.config); }, tree, path,
                    [&](const std::string& pointer) { return places.line_of(pointer); });
  if (e.config.name.empty()) {
    const size_t slash = path.find_last_of('/');
    e.config.name = path.substr(slash == std::string::npos ? 0 : slash + 1);
    e.config.name = e.config.name.substr(0, e.config.name.find_last_of('.'));
  }
  while (e.config.output.size() > 1 && e.config.output.back() == '/') e.config.output.pop_back();
  read_arms(e);
  check(e);
  return e;
}

}  // namespace pan::experiment
