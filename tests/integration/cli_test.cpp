// The program as a person meets it: bad input gives one error line and its exit code, and the commands agree
// with themselves.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/load.h"
#include "core/json.h"
#include "integration/cli_support.h"
#include "sft/sft_trainer.h"
#include "support/support.h"
#include "train/tiny_run.h"

namespace pan::testing {
namespace {

namespace fs = std::filesystem;

TEST_F(Cli, NamesTruncatedWeights) {
  fs::resize_file(model() + "/model.safetensors", fs::file_size(model() + "/model.safetensors") - 1000);
  expect_error(train({}), 3,
               {"model.safetensors", "ends before", "expected", "got", "fetch or write it again"});
  EXPECT_FALSE(fs::exists(path("run"))) << "a run folder was made for a model that cannot be read";
  expect_error(train({"--dry-run"}), 3, {"model.safetensors", "ends before"});
}

TEST_F(Cli, NamesMissingWeights) {
  fs::remove(model() + "/model.safetensors");
  expect_error(train({}), 3,
               {"holds no weights", model(), "expected", "got neither", "Fetch the model again"});
}

TEST_F(Cli, NamesAnOversizedHeader) {
  std::string bytes = read_text(model() + "/model.safetensors");
  bytes.replace(0, 8, std::string(7, '\xff') + '\x7f');
  write_text(model() + "/model.safetensors", bytes);
  expect_error(train({}), 3,
               {"model.safetensors", "header's length", "expected at most", "got 9223372036854775807"});
}

TEST_F(Cli, NamesAMissingShard) {
  fs::remove(model() + "/model.safetensors");
  write_text(
      model() + "/model.safetensors.index.json",
      R"({"metadata": {}, "weight_map": {"model.embed_tokens.weight": "model-00001-of-00002.safetensors"}})");
  expect_error(train({}), 3,
               {"a shard is missing", "model-00001-of-00002.safetensors", "Fetch the model again"});
}

TEST_F(Cli, NamesNanWeights) {
  std::string bytes = read_text(model() + "/model.safetensors");
  bytes.replace(bytes.size() - 4, 4, std::string("\x00\x00\xc0\x7f", 4));
  write_text(model() + "/model.safetensors", bytes);
  expect_error(train({}), 3, {"model.safetensors", "finite"});
}

TEST_F(Cli, NamesATokenizerOfAnotherModel) {
  replace_in(model() + "/config.json", "\"vocab_size\": ", "\"vocab_size\": 1");
  EXPECT_EQ(train({}).code, 3);  // more embeddings than the weights hold
  fs::remove_all(path("run"));
  replace_in(model() + "/config.json", "\"vocab_size\": 1", "\"vocab_size\": 1, \"was\": ");
  expect_error(train({}), 3, {"tokenizer has more tokens", "vocab_size = 1", "take both from one folder"});
}

TEST_F(Cli, NamesACorruptTokenizer) {
  // Cut within a piece, and between two.
  for (const uintmax_t size : {2001, 2000}) {
    fs::resize_file(model() + "/tokenizer.model", size);
    expect_error(train({}), 3, {"tokenizer.model", "damaged", "at byte", "Copy or download"});
  }
}

TEST_F(Cli, NamesAnEmptyDataSet) {
  write_text(path("empty.jsonl"), "");
  core::Json json = config::resolved(tiny_config(model(), {"eval.every=0"}));
  json["task"] = {{"name", "jsonl"}, {"train_path", path("empty.jsonl")}, {"eval_path", path("empty.jsonl")}};
  write_text(path("jsonl.json"), json.dump());
  expect_error(pan({"train", "--config", path("jsonl.json"), "--run-dir", path("run")}), 3,
               {"data file has no rows", "empty.jsonl", "expected", "got an empty file", "Fetch or make"});
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(Cli, NamesAPromptOverTheLimit) {
  expect_error(
      train({"--set", "train.max_prompt_tokens=10"}), 3,
      {"a prompt is too long", "logic_grid-train", "max_prompt_tokens = 10", "got", "overlong_prompts"});
  EXPECT_FALSE(fs::exists(path("run"))) << "a run began with a prompt that it cannot use";
  // Also one that comes late, and before the evaluation that starts a run.
  std::string rows;
  for (int i = 0; i < 40; ++i)
    rows += R"({"prompt": "2 houses", "answer": "1"})"
            "\n";
  rows += R"({"prompt": ")" + std::string(2000, 'x') +
          R"(", "answer": "1"})"
          "\n";
  write_text(path("rows.jsonl"), rows);
  core::Json json = config::resolved(tiny_config(model(), {}));
  json["task"] = {{"name", "jsonl"}, {"train_path", path("rows.jsonl")}, {"eval_path", path("rows.jsonl")}};
  json["train"]["iterations"] = 20;
  write_text(path("jsonl.json"), json.dump());
  expect_error(pan({"train", "--config", path("jsonl.json"), "--run-dir", path("run")}), 3,
               {"a prompt is too long", "jsonl-train-41", "got 2000"});
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(Cli, NamesAFolderThatCannotBeWritten) {
  const std::string run_dir = "/proc/self/no/run";  // where root may not write either
  for (const Words& more : {Words{}, Words{"--dry-run"}}) {
    Words words = {"train", "--config", write_config(), "--run-dir", run_dir};
    words.insert(words.end(), more.begin(), more.end());
    expect_error(pan(words), 4,
                 {"nothing can be written here", run_dir, "expected a place where this user may write",
                  "got /proc/self: ", "Choose another --run-dir"});
  }
  write_text(path("file"), "");
  expect_error(pan({"train", "--config", write_config(), "--run-dir", path("file/run"), "--dry-run"}), 4,
               {path("file/run"), "Not a directory"});
}

TEST_F(Cli, LeavesAForeignFolderAlone) {
  fs::create_directories(path("run"));
  write_text(path("run/notes"), "mine");
  const Result refused = train({});
  expect_error(refused, 2, {"not empty", path("run"), "expected", "got", "notes", "--run-dir"});
  EXPECT_EQ(refused.err.find("resume"), std::string::npos) << "it is no run to resume";
  EXPECT_EQ(read_text(path("run/notes")), "mine");
  expect_error(pan({"resume", path("run")}), 3, {"not a run folder", "config.json"});
}

TEST_F(Cli, StartsWhereAKillLeftNothingButAnEmptyFolder) {
  fs::create_directories(path("run/checkpoints"));
  write_text(path("run/.lock"), "");
  write_text(path("run/README.md"), "");
  EXPECT_EQ(train({"--auto-resume"}).code, 0);
}

TEST_F(Cli, AsksBeforeItChangesARun) {
  ASSERT_EQ(train({}).code, 0);
  const std::string metrics = read_text(path("run/metrics.jsonl"));
  expect_error(train({}), 2, {"holds a run already", path("run"), "pan-ppo resume"});
  expect_error(pan({"resume", path("run"), "--set", "ppo.clip_low=0.1"}), 2,
               {"/ppo/clip_low", "0.2 -> 0.1", "--allow-change"});
  // A checkpoint that was tampered with is not resumed, and not overwritten by a fresh start either.
  replace_in(path("run/checkpoints/latest/policy/config.json"), "\"hidden_size\": ", "\"hidden_size\": 1");
  expect_error(pan({"resume", path("run"), "--set", "train.iterations=2"}), 3,
               {"every checkpoint", path("run/checkpoints"), "expected", "Restore"});
  EXPECT_EQ(read_text(path("run/metrics.jsonl")), metrics);
}

TEST_F(Cli, NamesBadSettings) {
  auto dry = [&](const Words& set) {
    Words words = {"--dry-run=config"};
    for (const std::string& s : set) words.insert(words.end(), {"--set", s});
    return train(words);
  };
  expect_error(dry({"ppo.minibtch_size=4"}), 2, {"no such setting", "/ppo/minibtch_size", "minibatch_size"});
  expect_error(dry({"ppo"}), 2, {"--set ppo", "expected"});
  expect_error(dry({"ppo.clip_low=abc"}), 2,
               {"--set", "/ppo/clip_low", "expected a number", "got \"abc\"", "config explain ppo/clip_low"});
  expect_error(dry({"train.iterations=-1"}), 2, {"/train/iterations", "expected >= 0", "got -1"});
  expect_error(dry({"ppo.minibatch_size=3"}), 2,
               {"do not divide", "/ppo/minibatch_size", "divisor of 8", "got 3"});
  expect_error(dry({"rollout.temperature=0"}), 2, {"/rollout/temperature", "expected > 0", "got 0"});
  expect_error(dry({"eval.samples=4"}), 2, {"/eval/samples", "eval.temperature > 0", "got 4"});
  write_text(path("typo.json"), "{\n  \"seed\": 1,\n  \"ppo\": {\n    \"minibtch_size\": 4\n  }\n}\n");
  expect_error(pan({"train", "--config", path("typo.json"), "--dry-run=config"}), 2,
               {"typo.json", "line 4", "minibatch_size"});
}

TEST_F(Cli, NamesTheLinesOfSettingsThatDoNotFitTogether) {
  write_text(path("pair.json"),
             "{\n  \"train\": {\n    \"prompts_per_iteration\": 4,\n    \"samples_per_prompt\": 2},\n"
             "  \"ppo\": {\n    \"minibatch_size\": 3\n  }\n}\n");
  expect_error(
      pan({"train", "--config", path("pair.json"), "--dry-run=config"}), 2,
      {"do not divide", "pair.json", "/ppo/minibatch_size, line 6", "/train/prompts_per_iteration, line 3",
       "/train/samples_per_prompt, line 4", "expected", "got 3", "Change ppo.minibatch_size"});
  expect_error(
      pan({"train", "--config", path("pair.json"), "--dry-run=config", "--set", "ppo.minibatch_size=5"}), 2,
      {"do not divide", "/ppo/minibatch_size, from --set", "got 5"});
}

TEST_F(Cli, SaysWhichKeysDoNotBelongToATask) {
  const std::string config = write_config();
  expect_error(pan({"train", "--config", config, "--dry-run=config", "--set", "task.name=gsm8k"}), 2,
               {"does not belong to task gsm8k", config, "/task/", "line",
                "expected keys of gsm8k: ", "a key of logic_grid", "--set 'task="});
  EXPECT_EQ(pan({"train", "--config", config, "--dry-run=config", "--set", R"(task={"name": "gsm8k"})"}).code,
            0);
}

TEST_F(Cli, NamesWhatIsWrongWithTheCommandLine) {
  expect_error(pan({"trian"}), 2,
               {"no such command", "got trian", "train, resume", "Did you mean train?", "--help"});
  expect_error(pan({"config", "pront"}), 2, {"no such command", "pan-ppo config", "Did you mean print?"});
  expect_error(pan({}), 2, {"no command is named", "train", "--help"});
  expect_error(pan({"train"}), 2, {"missing", "pan-ppo train", "--config", "got nothing", "--help"});
  expect_error(pan({"train", "--confg", "x"}), 2,
               {"no such option", "got --confg", "Did you mean --config?"});
  expect_error(pan({"train", "--config"}), 2, {"no value", "--config", "pan-ppo train --help"});
  expect_error(pan({"generate", "--model", "m", "--prompt", "a", "--top-p", "3"}), 2, {"--top-p", "Value 3"});
  expect_error(pan({"eval", "--model", "m", "--output", "o", "--samples", "abc"}), 2, {"--samples", "abc"});
  expect_error(pan({"resume", "a", "b"}), 2, {"pan-ppo resume", "got", "b"});
  expect_error(pan({"resume", path("nowhere")}), 3,
               {"not a run folder", "expected", "got nothing of that name"});
  expect_error(pan({"config", "explain", "ppo.clip_lo_w"}), 2,
               {"no such setting", "Did you mean ppo/clip_low?"});
  expect_error(train({"--time-limit", "soon"}), 2, {"not a duration", "got soon", "--time-limit"});
}

TEST_F(Cli, ShippedConfigurationsAreGood) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(source_path("configs"))) {
    const std::string file = entry.path().string();
    if (entry.is_directory()) continue;  // experiment_test.cpp has those of experiments
    ++files;
    if (file.find("_sft_") != std::string::npos) {
      EXPECT_NO_THROW(sft::load_sft(file, {})) << file;
    } else {
      const Result r = pan({"train", "--config", file, "--dry-run=config"});
      EXPECT_EQ(r.code, 0) << file << r.err;
    }
  }
  EXPECT_GE(files, 3);
}

TEST_F(Cli, ResumesASupervisedRun) {
  Words words = {"sft", "--config", source_path("configs/quickstart_sft_1.json"), "--run-dir", ""};
  for (const std::string& set : {std::string("threads=1"), "model.path=" + source_path("data/quickstart"),
                                 std::string("init.num_layers=1"), std::string("init.hidden_size=32"),
                                 std::string("sft.batch_size=2"), std::string("eval.every=0")})
    words.insert(words.end(), {"--set", set});
  const auto sft = [&](const std::string& name, const std::string& steps) {
    Words all = words;
    all[4] = path(name);
    all.insert(all.end(), {"--set", "sft.steps=" + steps});
    return pan(all);
  };
  ASSERT_EQ(sft("whole", "4").code, 0);
  ASSERT_EQ(sft("run", "2").code, 0);
  expect_error(pan({"resume", path("run"), "--time-limit", "1h"}), 2, {"supervised run", "--time-limit"});
  const Result r = pan({"resume", path("run"), "--set", "sft.steps=4"});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(read_text(path("run/checkpoints/latest/policy/model.safetensors")),
            read_text(path("whole/checkpoints/latest/policy/model.safetensors")));
}

TEST_F(Cli, ExplainsAndPrintsTheConfiguration) {
  const std::string explained = pan({"config", "explain"}).out;
  const core::Json json = config::resolved(config::RunConfig{});
  for (const auto& [key, value] : json.items())
    EXPECT_NE(explained.find("/" + key), std::string::npos) << key;
  const Result once = pan({"config", "print", "--config", write_config()});
  ASSERT_EQ(once.code, 0) << once.err;
  write_text(path("again.json"), once.out);
  EXPECT_EQ(pan({"config", "print", "--config", path("again.json")}).out, once.out);
}

// What `config print` gives can be given back, and says the same.
void expect_prints_again(const Result& once, const std::function<Result(const std::string&)>& print,
                         const std::string& file) {
  ASSERT_EQ(once.code, 0) << once.err;
  write_text(file, once.out);
  const Result again = print(file);
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, once.out);
}

TEST_F(Cli, ExplainsTheFilesOfEachCommand) {
  const auto explain = [&](const Words& more) {
    Words words = {"config", "explain"};
    words.insert(words.end(), more.begin(), more.end());
    return pan(words);
  };
  const std::string sft = explain({"--for", "sft"}).out, experiment = explain({"--for", "experiment"}).out,
                    eval = explain({"--for", "eval"}).out;
  const core::Json keys = sft::resolved({});
  for (const auto& [key, value] : keys.items()) EXPECT_NE(sft.find("/" + key), std::string::npos) << key;
  for (const char* key : {"/sft/batch_size", "/init/hidden_size", "with /task/name = gsm8k"})
    EXPECT_NE(sft.find(key), std::string::npos) << key;
  for (const char* key : {"/base", "/arms", "/seeds", "/metric", "/power", "/curves"})
    EXPECT_NE(experiment.find(key), std::string::npos) << key;
  EXPECT_EQ(experiment.find("/task"), std::string::npos);
  for (const char* key : {"/eval/samples", "/task/sizes", "/rollout/max_new_tokens", "/prompt/template"})
    EXPECT_NE(eval.find(key), std::string::npos) << key;
  for (const char* key : {"/eval/every", "/ppo", "/rollout/slots", "/checkpoint"})
    EXPECT_EQ(eval.find(std::string("  ") + key + " "), std::string::npos) << key;
  // A key is found wherever it is; --for says whose is meant.
  EXPECT_EQ(explain({"sft.batch_size"}).out, explain({"sft.batch_size", "--for", "sft"}).out);
  EXPECT_EQ(explain({"arms"}).out, explain({"arms", "--for", "experiment"}).out);
  EXPECT_NE(explain({"optimizer.lr", "--for", "sft"}).out.find("1e-05"), std::string::npos);
  expect_error(explain({"sft.batch_sze"}), 2, {"no such setting", "Did you mean sft/batch_size?"});
  expect_error(explain({"ppo", "--for", "eval"}), 2, {"no such setting", "config explain --for eval"});
  expect_error(explain({"--for", "trian"}), 2, {"--for", "trian"});
}

TEST_F(Cli, PrintsTheFilesOfEachCommand) {
  const auto print = [&](const std::string& file, const Words& more) {
    Words words = {"config", "print", "--config", file};
    words.insert(words.end(), more.begin(), more.end());
    return pan(words);
  };
  const auto plain = [&](const std::string& file) { return print(file, {}); };
  const std::string sft_file = source_path("configs/quickstart_sft_1.json");
  const Result sft = print(sft_file, {"--set", "sft.steps=7"});
  expect_prints_again(sft, plain, path("sft.json"));
  EXPECT_EQ(core::Json::parse(sft.out).at("sft").at("steps"), 7);
  EXPECT_EQ(print(sft_file, {"--for", "sft"}).out, plain(sft_file).out);

  const std::string base = write_config();
  write_text(path("experiment.json"),
             core::Json({{"base", base},
                         {"arms", {{"off", {{"rhythm.lambda", 0}}}, {"on", {{"rhythm.lambda", 0.1}}}}},
                         {"baseline", "off"},
                         {"seeds", {1, 2}},
                         {"output", path("out")}})
                 .dump());
  const Result experiment = print(path("experiment.json"), {"--set", "parallel=2"});
  expect_prints_again(experiment, plain, path("printed.json"));
  const core::Json tree = core::Json::parse(experiment.out);
  EXPECT_EQ(tree.at("parallel"), 2);
  EXPECT_EQ(tree.at("alpha"), 0.05);
  EXPECT_EQ(tree.at("arms").at("on").at("rhythm.lambda"), 0.1);

  for (const std::string& file : {base, sft_file}) {
    const Result eval = print(file, {"--for", "eval", "--set", "eval.num_problems=3"});
    expect_prints_again(
        eval,
        [&](const std::string& f) {
          return print(f, {"--for", "eval"});
        },
        path("eval.json"));
    const core::Json kept = core::Json::parse(eval.out);
    EXPECT_EQ(kept.at("eval").at("num_problems"), 3);
    EXPECT_FALSE(kept.contains("train"));
    EXPECT_FALSE(kept.at("eval").contains("every"));
  }
  expect_error(print(base, {"--for", "sft"}), 2, {"no such setting"});
}

TEST_F(Cli, EvalSaysWhatHasNoEffect) {
  const Result r = pan({"eval", "--model", model(), "--config", write_config(), "--output", path("ev"),
                        "--limit", "1", "--set", "train.iterations=9", "--set", "eval.top_p=0.5"});
  ASSERT_EQ(r.code, 0) << r.err;
  for (const char* note : {"warning: /train/iterations: has no effect in an evaluation",
                           "warning: /eval/top_p: has no effect with eval.temperature = 0"})
    EXPECT_NE(r.err.find(note), std::string::npos) << r.err;
  expect_error(
      pan({"eval", "--model", model(), "--config", write_config(), "--output", path("ev"), "--samples", "3"}),
      2, {"several greedy answers", "/eval/samples", "--temperature 1"});
}

TEST_F(Cli, EveryCommandHasHelp) {
  for (const char* command :
       {"train", "resume", "sft", "eval", "experiment", "generate", "score", "tokenize", "tasks", "config"}) {
    const Result r = pan({command, "--help"});
    EXPECT_EQ(r.code, 0) << command;
    EXPECT_NE(r.out.find("Exit codes"), std::string::npos) << command;
  }
}

TEST_F(Cli, ScoreAgreesWithItself) {
  write_text(path("in.jsonl"),
             "{\"prompt\":\"2 houses\\n\",\"response\":\"one is here\\nthen 2 is there\\nso 3\\nend\\n\"}\n"
             "{\"token_ids\":[1,5,9,20,33,47,60,61,62,63,64,65],\"prompt_length\":4}\n");
  Words words = {"score", "--model", model(), "--input", path("in.jsonl"), "--output", path("a.jsonl")};
  ASSERT_EQ(pan(words).code, 0);
  words.back() = path("b.jsonl");
  words.insert(words.end(), {"--head-groups", path("a.jsonl.head_groups.json"), "--micro-batch-tokens", "1"});
  const Result second = pan(words);
  ASSERT_EQ(second.code, 0) << second.err;
  std::istringstream a(read_text(path("a.jsonl"))), b(read_text(path("b.jsonl")));
  std::string x, y;
  int rows = 0;
  while (std::getline(a, x) && std::getline(b, y)) {
    const core::Json p = core::Json::parse(x), q = core::Json::parse(y);
    ++rows;
    ASSERT_EQ(p["logprobs"].size(), q["logprobs"].size());
    EXPECT_EQ(p["token_entropy"].size(), p["logprobs"].size());
    if (rows == 2) {
      EXPECT_EQ(p["logprobs"].size(), 11u);
    }
    for (size_t i = 0; i < p["logprobs"].size(); ++i) {
      EXPECT_NEAR(p["logprobs"][i].get<double>(), q["logprobs"][i].get<double>(), 1e-5);
      EXPECT_NEAR(p["token_entropy"][i].get<double>(), q["token_entropy"][i].get<double>(), 1e-5);
    }
    ASSERT_EQ(p["steps"].size(), q["steps"].size());
    if (rows == 1) {
      EXPECT_GE(p["steps"].size(), 1u);
    }
    for (size_t i = 0; i < p["steps"].size(); ++i)
      for (const char* key : {"begin", "end", "anchors"}) EXPECT_EQ(p["steps"][i][key], q["steps"][i][key]);
  }
  EXPECT_EQ(rows, 2);
}

TEST_F(Cli, GenerateRepeatsItself) {
  const Words words = {"generate",      "--model", model(),  "--prompt", "2 houses",         "--samples", "2",
                       "--temperature", "1",       "--seed", "7",        "--max-new-tokens", "12"};
  const Result first = pan(words);
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_GT(first.out.size(), 20u);
  EXPECT_EQ(pan(words).out, first.out);
  Words other = words;
  other[10] = "8";
  EXPECT_NE(pan(other).out, first.out);
}

TEST_F(Cli, EvalFindsOutputItCannotWriteBeforeItGenerates) {
  const Result r = pan({"eval", "--model", model(), "--config", write_config(), "--output", "/proc/no/ev"});
  expect_error(r, 4, {"/proc/no/ev", "--output"});
  EXPECT_EQ(r.err.find("evaluating"), std::string::npos) << r.err;
}

TEST_F(Cli, EvalWritesARowForEveryAnswer) {
  const Result r = pan({"eval", "--model", model(), "--config", write_config(), "--output", path("ev"),
                        "--limit", "3", "--samples", "2", "--temperature", "1"});
  ASSERT_EQ(r.code, 0) << r.err;
  const core::Json metrics = core::Json::parse(read_text(path("ev/results.json")))["metrics"];
  for (const char* key : {"accuracy/2x2", "cell_accuracy", "cell_accuracy/2x2", "no_answer_rate/2x2"})
    EXPECT_TRUE(metrics.contains(key)) << key;
  EXPECT_NE(r.out.find("2x2: accuracy"), std::string::npos) << r.out;
  const std::string samples = read_text(path("ev/samples.jsonl"));
  EXPECT_EQ(std::count(samples.begin(), samples.end(), '\n'), 6);
}

}  // namespace
}  // namespace pan::testing
