#include "sft/sft_trainer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/json.h"
#include "core/log.h"
#include "core/signals.h"
#include "model/decoder.h"
#include "pan/tokenizer.h"
#include "support/stop_at_line.h"
#include "support/support.h"
#include "train/tiny_run.h"

namespace pan::sft {
namespace {

using pan::testing::read_text;
using pan::testing::write_text;

struct Pair {
  std::string prompt, worked;
};

class SftTrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    core::set_log_level(core::LogLevel::kError);
    pan::testing::make_tiny_model(model_, 5);
    tokenizer_ = tokenizer::load(model_);
  }
  void TearDown() override {
    core::set_log_file("");
    core::set_log_level(core::LogLevel::kInfo);
  }

  SftConfig config(const std::vector<Pair>& pairs, int64_t steps) {
    std::string rows;
    for (const Pair& p : pairs)
      rows += core::Json({{"prompt", p.prompt}, {"answer", "1"}, {"worked", p.worked}}).dump() + "\n";
    write_text(folder_ / "pairs.jsonl", rows);
    SftConfig c;
    c.seed = 3;
    c.threads = 1;
    c.model.path = model_;
    c.model.device = "cpu";
    c.prompt.template_name = "plain";
    c.prompt.add_special = false;
    c.task.name = "jsonl";
    c.task.jsonl.train_path = c.task.jsonl.eval_path = folder_ / "pairs.jsonl";
    c.task.jsonl.worked_field = "worked";
    c.sft.steps = steps;
    c.sft.batch_size = static_cast<int64_t>(pairs.size());
    c.sft.log_every = 1;
    c.sft.max_tokens = 512;
    c.optimizer.lr = 1e-2;
    return c;
  }
  std::vector<core::Json> steps(const std::string& name) {
    std::istringstream lines(read_text((folder_ / name) + "/metrics.jsonl"));
    std::vector<core::Json> rows;
    for (std::string line; std::getline(lines, line);) rows.push_back(core::Json::parse(line));
    return rows;
  }
  // -ln p of the tokens of one pair from `begin` on, by plain ATen; `begin` counts from the start of the
  // prompt.
  std::vector<double> losses(const Pair& pair, size_t& prompt_length) {
    const at::NoGradGuard no_grad;
    const auto decoder = model::load_decoder(model_, {});
    std::vector<int64_t> ids = tokenizer_->encode(pair.prompt, {});
    prompt_length = ids.size();
    for (int64_t id : tokenizer_->encode(pair.worked, {})) ids.push_back(id);
    ids.push_back(tokenizer_->eos_id());
    const at::Tensor hidden = decoder->hidden(model::pack({ids}, at::kCPU));
    const at::Tensor p = at::linear(hidden, decoder->output_weight()).to(at::kDouble).log_softmax(-1);
    std::vector<double> out = {0};  // of the first token, which nothing predicts
    for (size_t t = 1; t < ids.size(); ++t)
      out.push_back(-p[static_cast<int64_t>(t) - 1][ids[t]].item<double>());
    return out;
  }

  pan::testing::TempFolder folder_;
  std::string model_ = folder_ / "model";
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
};

const std::vector<Pair> kPairs = {{"2 houses\n", "one is here\nso 2\n"},
                                  {"a long prompt of 3 houses\n", "3\n"}};

TEST_F(SftTrainerTest, OnlyTheAnswerAndItsEndAreTrained) {
  double answers = 0, without_end = 0, everything = 0, num_answer = 0, num_all = 0;
  for (const Pair& pair : kPairs) {
    size_t prompt_length = 0;
    const std::vector<double> loss = losses(pair, prompt_length);
    for (size_t t = 1; t < loss.size(); ++t) {
      everything += loss[t], ++num_all;
      if (t < prompt_length) continue;
      answers += loss[t], ++num_answer;
      if (t + 1 < loss.size()) without_end += loss[t];
    }
  }
  const double expected = answers / num_answer;
  train({.config = config(kPairs, 1), .run_dir = folder_ / "run"});
  const double got = steps("run").at(0).at("sft/loss");
  EXPECT_NEAR(got, expected, 1e-5 * expected);
  // The others are far enough away to be told apart.
  EXPECT_GT(std::abs(without_end / (num_answer - 2) - expected), 1e-4 * expected);
  EXPECT_GT(std::abs(everything / num_all - expected), 1e-4 * expected);
  EXPECT_EQ(steps("run").at(0).at("sft/tokens"), num_answer);
}

TEST_F(SftTrainerTest, TheLossOfAStepDoesNotDependOnTheMicroBatches) {
  SftConfig split = config(kPairs, 3);
  split.sft.micro_batch_tokens = 1;
  train({.config = config(kPairs, 3), .run_dir = folder_ / "whole"});
  train({.config = split, .run_dir = folder_ / "split"});
  for (size_t i = 0; i < 3; ++i) {
    const double whole = steps("whole").at(i).at("sft/loss");
    EXPECT_NEAR(steps("split").at(i).at("sft/loss").get<double>(), whole, 1e-4 * whole);
  }
}

TEST_F(SftTrainerTest, LossFallsAndTheEndIsLearned) {
  train({.config = config(kPairs, 60), .run_dir = folder_ / "run"});
  const auto rows = steps("run");
  ASSERT_EQ(rows.size(), 60u);
  const double first = rows.front().at("sft/loss"), last = rows.back().at("sft/loss");
  EXPECT_LT(last, 0.2 * first);
  model_ = (folder_ / "run") + "/checkpoints/latest/policy";
  for (const Pair& pair : kPairs) {
    size_t prompt_length = 0;
    EXPECT_LT(losses(pair, prompt_length).back(), 0.5) << "the end of " << pair.worked << " is not likely";
  }
}

TEST_F(SftTrainerTest, ResumeDoublesNoLine) {
  SftConfig c = config(kPairs, 4);
  train({.config = c, .run_dir = folder_ / "whole"});
  c.sft.steps = 2;
  train({.config = c, .run_dir = folder_ / "parts"});
  // What a kill after the checkpoint leaves: a line of step 3, and half of one.
  const std::string path = (folder_ / "parts") + "/metrics.jsonl";
  write_text(path, read_text(path) + "{\"event\":\"step\",\"step\":3,\"sft/loss\":9}\n{\"event\":\"st");
  c.sft.steps = 4;
  train({.config = c, .run_dir = folder_ / "parts", .resume = true});
  const auto whole = steps("whole"), parts = steps("parts");
  ASSERT_EQ(parts.size(), 4u);
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].at("step"), i + 1);
    for (const char* key : {"sft/loss", "sft/lr", "sft/grad_norm", "sft/tokens"})
      EXPECT_EQ(parts[i].at(key), whole[i].at(key)) << key << " of step " << i + 1;
  }
}

// The line before an evaluation is that of its step: a stop behind it comes with the first token.
TEST_F(SftTrainerTest, AnEvaluationThatIsStoppedIsDoneAfterTheResume) {
  SftConfig c = config(kPairs, 4);
  c.eval.every = 2;
  c.eval.at_start = true;
  c.eval_max_new_tokens = 4;
  c.checkpoint.every = 2;
  c.checkpoint.keep_last = 9;
  core::set_log_level(core::LogLevel::kInfo);
  const auto captured = [&](const std::string& name, bool resume, SftOutcome& outcome) {
    ::testing::internal::CaptureStderr();
    outcome = train({.config = c, .run_dir = folder_ / name, .resume = resume});
    core::set_log_file("");
    return ::testing::internal::GetCapturedStderr();
  };
  const auto events = [&](const std::string& name) {
    std::vector<core::Json> rows = steps(name);
    for (core::Json& row : rows) row.erase("timing_s/step");
    return rows;
  };
  const auto file = [&](const std::string& name, const std::string& in) {
    return read_text((folder_ / name) + "/" + in);
  };
  SftOutcome outcome;
  captured("first", false, outcome);  // warnings that come once per process are out of the way
  const std::string log = captured("whole", false, outcome);
  EXPECT_FALSE(outcome.stopped);
  for (const std::string before : {"run folder", "step 2/4", "step 4/4"}) {
    SCOPED_TRACE(before);
    const std::string name = "stopped after " + before.substr(0, 6);
    const auto lines_before =
        std::count(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(log.find(before)), '\n');
    std::string said;
    {
      const pan::testing::StopAtLine stop(lines_before + 1);
      said = captured(name, false, outcome);
    }
    EXPECT_TRUE(outcome.stopped);
    EXPECT_NE(said.find("stopped while evaluating; the evaluation is done again"), std::string::npos) << said;
    captured(name, true, outcome);
    EXPECT_FALSE(outcome.stopped);
    EXPECT_EQ(events(name), events("whole"));
    for (const char* step : {"step_000000", "step_000002", "step_000004"})
      EXPECT_EQ(file(name, "eval/" + std::string(step) + "/samples.jsonl"),
                file("whole", "eval/" + std::string(step) + "/samples.jsonl"));
    for (const char* kind : {"latest", "best"}) {
      const std::string weights = "checkpoints/" + std::string(kind) + "/policy/model.safetensors";
      EXPECT_EQ(file(name, weights), file("whole", weights)) << kind;
    }
    // The figures that decide which one is best are in the checkpoint; the start model is never that.
    if (before == "run folder") {
      const core::Json start = core::Json::parse(file(name, "checkpoints/step_000000/manifest.json"));
      EXPECT_TRUE(start.at("metrics").empty()) << start.at("metrics").dump();
    }
    for (const char* step : {"step_000002", "step_000004"}) {
      const std::string manifest = "checkpoints/" + std::string(step) + "/manifest.json";
      EXPECT_EQ(core::Json::parse(file(name, manifest)).at("metrics"),
                core::Json::parse(file("whole", manifest)).at("metrics"));
    }
  }
}

}  // namespace
}  // namespace pan::sft
