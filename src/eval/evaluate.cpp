#include "eval/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/stopwatch.h"
#include "eval/statistics.h"
#include "rollout/record.h"

namespace pan::eval {
namespace {

constexpr int64_t kGeneratedProblems = 500;

struct Item {
  tasks::Problem problem;
  std::vector<tasks::Verdict> verdicts;  // one per sample; empty where the prompt was too long
  bool overlong = false;
};

int64_t problem_count(const EvalRequest& r) {
  const int64_t size = r.task.size(tasks::Split::kEval);
  PAN_CHECK(size != 0, kData, "the evaluation split of task " + r.task.name() + " is empty").pointer("/task");
  if (r.config.num_problems > 0)
    return size < 0 ? r.config.num_problems : std::min(size, r.config.num_problems);
  return size < 0 ? kGeneratedProblems : size;
}

void check_overlong(const EvalRequest& r, int64_t num_problems, int64_t num_overlong, int64_t longest) {
  if (num_overlong == 0) return;
  const int64_t context = r.decoder.arch().max_positions;
  const std::string count = std::to_string(num_overlong) + " of " + std::to_string(num_problems);
  PAN_CHECK(num_overlong < num_problems, kData, "every prompt is too long for the model")
      .where("evaluation split of task " + r.task.name())
      .expected("prompts of fewer than max_position_embeddings = " + std::to_string(context) +
                " tokens, template included")
      .got(count + " are longer, the longest with " + std::to_string(longest))
      .remedy("Take a model with a longer context, or a task or template with shorter prompts");
  core::log_warn("overlong prompts of " + r.task.name() + ": " + count,
                 "evaluation: " + count + " prompts do not fit into the context of " +
                     std::to_string(context) + " tokens (the longest has " + std::to_string(longest) +
                     "); they count as not answered");
}

rollout::GeneratorOptions generator_options(const EvalRequest& r, int64_t max_new_tokens) {
  rollout::GeneratorOptions options{.seed = r.seed, .stop_tokens = r.stop_tokens};
  options.sampling = {.temperature = r.config.temperature,
                      .top_k = r.config.top_k,
                      .top_p = r.config.top_p,
                      .max_new_tokens = max_new_tokens,
                      .stop_strings = r.stop_strings,
                      .slots = r.config.slots};
  for (const std::string& text : r.task.stop_strings()) options.sampling.stop_strings.push_back(text);
  return options;
}

// The most frequent extracted answer is right; ties go to the answer that came first. No answer never wins
// against one.
bool majority_is_right(const std::vector<tasks::Verdict>& verdicts) {
  size_t best = 0;
  int64_t best_votes = 0;
  for (size_t i = 0; i < verdicts.size(); ++i) {
    if (!verdicts[i].answered) continue;
    int64_t votes = 0;
    for (const tasks::Verdict& other : verdicts)
      votes += other.answered && other.extracted == verdicts[i].extracted;
    if (votes > best_votes) best_votes = votes, best = i;
  }
  return best_votes > 0 && verdicts[best].correct;
}

constexpr const char* kBootstrap = "bootstrap over items";

void put_share(Evaluation& e, const std::string& key, const std::vector<double>& items,
               bool each_is_one_trial, uint64_t seed) {
  double sum = 0;
  for (double x : items) sum += x;
  const double value = items.empty() ? std::nan("") : sum / static_cast<double>(items.size());
  e.metrics[key] = value;
  const Bounds b = each_is_one_trial ? wilson(std::llround(sum), static_cast<int64_t>(items.size()))
                                     : bootstrap_mean(items, seed);
  e.intervals[key] = {value, b.low, b.high, each_is_one_trial ? "wilson" : kBootstrap};
}

// What is reported of all items and of each group of them.
struct Tally {
  std::vector<double> share;               // of each item's answers that are right
  std::vector<double> right_cells, cells;  // of each item that has cells, all answers together
  double unanswered = 0, answers = 0;

  void add(const Item& item, int64_t samples) {
    int64_t right = 0;
    double in_place = 0;
    for (const tasks::Verdict& v : item.verdicts) {
      right += v.correct;
      unanswered += !v.answered;
      in_place += static_cast<double>(v.right_cells);
    }
    const auto k = static_cast<double>(samples);
    // A prompt that is too long is an item that was not answered.
    if (item.overlong) unanswered += k;
    answers += k;
    if (item.problem.num_cells > 0) {
      right_cells.push_back(in_place);
      cells.push_back(k * static_cast<double>(item.problem.num_cells));
    }
    share.push_back(static_cast<double>(right) / k);
  }
};

// `suffix`: "", or "/3x3" of a group.
void put_tally(const EvalRequest& r, const Tally& tally, const std::string& suffix, Evaluation& e) {
  put_share(e, "accuracy" + suffix, tally.share, r.config.samples == 1, r.seed);
  e.metrics["no_answer_rate" + suffix] = tally.unanswered / tally.answers;
  if (tally.cells.empty()) return;
  const std::string key = "cell_accuracy" + suffix;
  const double value = std::accumulate(tally.right_cells.begin(), tally.right_cells.end(), 0.0) /
                       std::accumulate(tally.cells.begin(), tally.cells.end(), 0.0);
  const Bounds b = bootstrap_ratio(tally.right_cells, tally.cells, r.seed);
  e.metrics[key] = value;
  e.intervals[key] = {value, b.low, b.high, kBootstrap};
}

void summarise(const EvalRequest& r, const std::vector<Item>& items, Evaluation& e) {
  const int64_t k = r.config.samples;
  Tally all;
  std::vector<double> majority, any;
  std::map<std::string, Tally> by_group;
  std::map<std::string, std::pair<double, double>> terms;
  for (const Item& item : items) {
    all.add(item, k);
    for (const tasks::Verdict& v : item.verdicts)
      for (const auto& [name, value] : v.terms) terms[name].first += value, terms[name].second += 1;
    majority.push_back(majority_is_right(item.verdicts) ? 1 : 0);
    any.push_back(all.share.back() > 0 ? 1 : 0);
    // "gsm8k", or "logic_grid/3x3" of a mix, which counts for "logic_grid" as well.
    const std::string& group = item.problem.group;
    for (size_t end = 0; !group.empty() && end != std::string::npos;) {
      end = group.find('/', end == 0 ? 0 : end + 1);
      by_group[group.substr(0, end)].add(item, k);
    }
  }
  put_tally(r, all, "", e);
  if (k > 1) {
    e.metrics["avg@" + std::to_string(k)] = e.metrics["accuracy"];
    put_share(e, "maj@" + std::to_string(k), majority, true, r.seed);
    put_share(e, "pass@" + std::to_string(k), any, false, r.seed);
  }
  for (const auto& [group, tally] : by_group) {
    put_tally(r, tally, "/" + group, e);
    e.groups.push_back(group);
  }
  for (const auto& [name, sum] : terms) e.metrics["score/" + name] = sum.first / sum.second;
}

std::string row_of(const Item& item, const rollout::Sample& sample, const tasks::Verdict& verdict,
                   const tokenizer::Tokenizer& tokenizer) {
  rollout::Record record = rollout::make_record(sample, tokenizer);
  record.id = item.problem.id;
  record.rewards = verdict.terms;
  record.rewards["reward"] = verdict.reward;
  record.rewards["correct"] = verdict.correct;
  record.notes["extracted"] = verdict.extracted;
  record.notes["reference"] = item.problem.reference;
  return rollout::record_line(record);
}

core::Json results_of(const EvalRequest& r, const Evaluation& e) {
  core::Json json;
  json["task"] = r.task.name();
  for (const auto& [key, value] : e.metrics) json["metrics"][key] = value;
  for (const auto& [key, i] : e.intervals)
    json["intervals_95"][key] = {{"value", i.value}, {"low", i.low}, {"high", i.high}, {"method", i.method}};
  json["num_problems"] = e.num_problems;
  json["num_samples"] = e.num_samples;
  json["num_overlong_prompts"] = e.num_overlong_prompts;
  json["seed"] = r.seed;
  json["seconds"] = e.seconds;
  json["tokens_per_s"] = e.tokens_per_s;
  json["decoding"] = {
      {"samples", r.config.samples},
      {"temperature", r.config.temperature},
      {"top_p", r.config.top_p},
      {"top_k", r.config.top_k},
      {"max_new_tokens", r.config.max_new_tokens > 0 ? r.config.max_new_tokens : r.default_max_new_tokens}};
  const core::Json description = core::parse_json(r.description, "the description");
  for (const auto& [key, value] : description.items()) json[key] = value;
  return json;
}

}  // namespace

Evaluation evaluate(const EvalRequest& r) {
  const core::Stopwatch watch;
  const int64_t max_new_tokens =
      r.config.max_new_tokens > 0 ? r.config.max_new_tokens : r.default_max_new_tokens;
  const int64_t context = r.decoder.arch().max_positions;
  std::vector<Item> items(static_cast<size_t>(problem_count(r)));
  std::vector<rollout::Request> requests;
  std::vector<size_t> item_of;
  Evaluation e;
  int64_t longest = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    // Some problems take long to make.
    if (r.should_stop && r.should_stop())
      throw core::Error(core::ErrorKind::kInterrupted, "the evaluation was interrupted")
          .where("while making problems")
          .got("a stop signal")
          .remedy("Nothing was written; start the command again");
    items[i].problem = r.task.problem(tasks::Split::kEval, static_cast<int64_t>(i));
    const std::vector<int64_t> prompt = r.encode(items[i].problem);
    longest = std::max(longest, static_cast<int64_t>(prompt.size()));
    items[i].overlong = static_cast<int64_t>(prompt.size()) >= context;
    e.num_overlong_prompts += items[i].overlong;
    if (items[i].overlong) continue;
    for (int64_t j = 0; j < r.config.samples; ++j) {
      requests.push_back({.sample_id = static_cast<int64_t>(i) * r.config.samples + j,
                          .prompt = prompt,
                          .purpose = core::rng::Purpose::kEval,
                          .name = items[i].problem.id});
      item_of.push_back(i);
    }
  }
  check_overlong(r, static_cast<int64_t>(items.size()), e.num_overlong_prompts, longest);
  rollout::Generator generator(r.decoder, r.tokenizer, generator_options(r, max_new_tokens));
  rollout::RunHooks hooks;
  hooks.should_stop = r.should_stop;
  if (r.progress)
    hooks.on_progress = [&](const rollout::Progress& p) { r.progress(p.num_finished, p.num_requests); };
  const std::vector<rollout::Sample> samples = generator.run(requests, hooks);
  std::vector<tasks::Answer> answers;
  for (size_t i = 0; i < samples.size(); ++i)
    answers.push_back({&items[item_of[i]].problem, &samples[i].text});
  const std::vector<tasks::Verdict> verdicts = r.task.judge_all(answers);
  double truncated = 0, tokens = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    Item& item = items[item_of[i]];
    item.verdicts.push_back(verdicts[i]);
    truncated += samples[i].finish == rollout::FinishReason::kLength;
    tokens += static_cast<double>(samples[i].response.size());
    e.rows.push_back(row_of(item, samples[i], item.verdicts.back(), r.tokenizer));
  }
  e.num_problems = static_cast<int64_t>(items.size());
  e.num_samples = static_cast<int64_t>(samples.size());
  summarise(r, items, e);
  const auto n = static_cast<double>(samples.size());
  e.metrics["truncated_rate"] = samples.empty() ? 0 : truncated / n;
  e.metrics["response_length/mean"] = samples.empty() ? 0 : tokens / n;
  e.seconds = watch.seconds();
  e.tokens_per_s = tokens / e.seconds;
  e.results = core::dump_json(results_of(r, e), 2) + "\n";
  return e;
}

void make_output_folder(const std::string& folder) {
  core::Disk& disk = core::disk();
  const std::string probe = folder + "/.write_test";
  try {
    disk.make_folders(folder);
    disk.create(probe)->close();
    disk.remove_all(probe);
  } catch (core::Error& error) {
    throw error.expected("a folder that can be made and written").remedy("Choose another --output");
  }
}

void write_evaluation(const std::string& folder, const Evaluation& e) {
  core::Disk& disk = core::disk();
  disk.make_folders(folder);
  std::string rows;
  for (const std::string& row : e.rows) rows += row;
  core::write_file_atomic(disk, folder + "/samples.jsonl", rows);
  core::write_file_atomic(disk, folder + "/results.json", e.results);
}

namespace {

std::string share_text(const Evaluation& e, const std::string& key) {
  char text[128];
  const Interval& i = e.intervals.at(key);
  std::snprintf(text, sizeof text, " %.1f %% [%.1f, %.1f]", 100 * i.value, 100 * i.low, 100 * i.high);
  return text;
}

// ", cells 71.0 % [69.2, 72.9], no answer 3.0 %"
std::string rates_text(const Evaluation& e, const std::string& suffix) {
  std::string out;
  if (e.intervals.count("cell_accuracy" + suffix) != 0)
    out += ", cells" + share_text(e, "cell_accuracy" + suffix);
  char text[64];
  std::snprintf(text, sizeof text, ", no answer %.1f %%", 100 * e.metrics.at("no_answer_rate" + suffix));
  return out + text;
}

}  // namespace

std::vector<std::string> evaluation_lines(const Evaluation& e) {
  std::vector<std::string> lines;
  char text[256];
  std::snprintf(text, sizeof text, "evaluation: %lld problems, %lld answers, %.0f tokens/s: ",
                static_cast<long long>(e.num_problems), static_cast<long long>(e.num_samples),
                e.tokens_per_s);
  std::string shares;
  for (const auto& [key, interval] : e.intervals)
    if (key.find('/') == std::string::npos && key != "cell_accuracy")
      shares += (shares.empty() ? "" : ", ") + key + share_text(e, key);
  lines.push_back(text + shares);
  std::snprintf(text, sizeof text, ", cut off %.1f %%, mean length %.0f tokens",
                100 * e.metrics.at("truncated_rate"), e.metrics.at("response_length/mean"));
  lines.push_back("  " + rates_text(e, "").substr(2) + text);
  if (e.num_overlong_prompts > 0)
    lines.push_back("  " + std::to_string(e.num_overlong_prompts) +
                    " prompts are longer than the context and count as not answered");
  for (const std::string& group : e.groups)
    lines.push_back("  " + group + ": accuracy" + share_text(e, "accuracy/" + group) +
                    rates_text(e, "/" + group));
  return lines;
}

}  // namespace pan::eval
