#include "eval/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/json.h"
#include "support/support.h"
#include "support/tiny_decoder.h"

namespace pan::eval {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

// Six grids whose verdicts are known beforehand, whatever is answered; the last one's prompt is too long.
class Grids : public tasks::Task {
 public:
  std::string name() const override { return "grids"; }
  int64_t size(tasks::Split) const override { return 6; }
  tasks::Problem problem(tasks::Split, int64_t i) const override {
    return {.id = std::to_string(i),
            .prompt = "2 houses",
            .reference = "",
            .group = i < 4 ? "2x2" : "3x3",
            .answer = "",
            .num_cells = i < 4 ? 4 : 9};
  }
  tasks::Verdict judge(const tasks::Problem& p, const std::string& answer) const override {
    texts.push_back(answer);
    const int64_t right[] = {4, 1, 0, 2, 6, 9};
    const auto i = static_cast<size_t>(std::stoi(p.id));
    return {.reward = 0,
            .correct = i == 0,
            .answered = i != 2,
            .extracted = "",
            .right_cells = right[i],
            .terms = {}};
  }
  mutable std::vector<std::string> texts;
};

class EvaluateTest : public ::testing::Test {
 protected:
  EvaluateTest() {
    tokenizer_ = tokenizer::load(pan::testing::source_path("data/quickstart/tokenizer.model"));
    decoder_ = model::make_decoder(pan::testing::tiny_arch(tokenizer_->vocab_size(), 64), {}, 3);
  }
  EvalRequest request(int64_t samples, double temperature) const {
    return {.decoder = *decoder_,
            .tokenizer = *tokenizer_,
            .task = grids_,
            .encode =
                [this](const tasks::Problem& p) {
                  return p.id == "5" ? std::vector<int64_t>(64, 7) : tokenizer_->encode(p.prompt);
                },
            .stop_tokens = {},
            .config = {.samples = samples, .temperature = temperature, .max_new_tokens = 8},
            .seed = 11};
  }

  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  std::unique_ptr<model::Decoder> decoder_;
  Grids grids_;
};

TEST_F(EvaluateTest, CellsPuzzlesAndMissingAnswersBySize) {
  for (const int64_t samples : {1, 2}) {
    const Evaluation e = evaluate(request(samples, samples == 1 ? 0 : 1));
    EXPECT_EQ(e.num_problems, 6);
    EXPECT_EQ(e.num_samples, 5 * samples);
    EXPECT_EQ(e.num_overlong_prompts, 1);
    // Right cells over all cells: those of the prompt that was not asked are wrong, not left out.
    EXPECT_NEAR(e.metrics.at("cell_accuracy"), 13.0 / 34, 1e-12);
    EXPECT_NEAR(e.metrics.at("cell_accuracy/2x2"), 7.0 / 16, 1e-12);
    EXPECT_NEAR(e.metrics.at("cell_accuracy/3x3"), 6.0 / 18, 1e-12);
    EXPECT_NEAR(e.metrics.at("accuracy"), 1.0 / 6, 1e-12);
    EXPECT_NEAR(e.metrics.at("accuracy/2x2"), 1.0 / 4, 1e-12);
    EXPECT_NEAR(e.metrics.at("accuracy/3x3"), 0, 1e-12);
    EXPECT_NEAR(e.metrics.at("no_answer_rate"), 2.0 / 6, 1e-12);
    EXPECT_NEAR(e.metrics.at("no_answer_rate/2x2"), 1.0 / 4, 1e-12);
    EXPECT_NEAR(e.metrics.at("no_answer_rate/3x3"), 1.0 / 2, 1e-12);
    const core::Json results = core::Json::parse(e.results);
    EXPECT_EQ(results["num_overlong_prompts"], 1);
    EXPECT_NEAR(results["metrics"]["cell_accuracy/3x3"].get<double>(), 6.0 / 18, 1e-12);
    const std::vector<std::string> lines = evaluation_lines(e);
    EXPECT_THAT(lines, Contains(HasSubstr("2x2: accuracy 25.0 %")));
    EXPECT_THAT(lines, Contains(AllOf(HasSubstr(", cells 43.8 % ["), HasSubstr("], no answer 25.0 %"))));
    const Interval cells = e.intervals.at("cell_accuracy/2x2");
    EXPECT_EQ(cells.value, e.metrics.at("cell_accuracy/2x2"));
    EXPECT_LT(cells.low, cells.value);
    EXPECT_GT(cells.high, cells.value);
    EXPECT_EQ(cells.method, "bootstrap over items");
    EXPECT_THAT(lines, Contains(HasSubstr("1 prompts are longer than the context")));
  }
}

// An evaluation must not see the random numbers that the first iteration of training draws.
TEST_F(EvaluateTest, DrawsFromAStreamOfItsOwn) {
  evaluate(request(1, 1));
  const std::vector<std::string> evaluated = grids_.texts;
  ASSERT_EQ(evaluated.size(), 5u);
  const auto texts = [&](core::rng::Purpose purpose) {
    std::vector<rollout::Request> requests;
    for (int64_t i = 0; i < 5; ++i)
      requests.push_back({.sample_id = i, .prompt = tokenizer_->encode("2 houses"), .purpose = purpose});
    rollout::GeneratorOptions options{.seed = 11};
    options.sampling.temperature = 1;
    options.sampling.max_new_tokens = 8;
    rollout::Generator generator(*decoder_, *tokenizer_, options);
    std::vector<std::string> out;
    for (const rollout::Sample& sample : generator.run(requests)) out.push_back(sample.text);
    return out;
  };
  EXPECT_EQ(evaluated, texts(core::rng::Purpose::kEval));
  EXPECT_NE(evaluated, texts(core::rng::Purpose::kSample));
}

}  // namespace
}  // namespace pan::eval
