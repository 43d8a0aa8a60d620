#include "tasks/logic_grid/task.h"

#include "core/error.h"
#include "tasks/few_shot.h"
#include "tasks/logic_grid/explain.h"
#include "tasks/logic_grid/file.h"
#include "tasks/logic_grid/score.h"
#include "tasks/logic_grid/sizes.h"

namespace pan::tasks::logic_grid {
namespace {

int64_t cells_of(const SolutionTable& table) {
  return static_cast<int64_t>(table.rows.size() * table.attributes.size());
}

class LogicGrid : public Task {
 public:
  explicit LogicGrid(const LogicGridConfig& config)
      : config_(config), few_shot_(config.few_shot, "logic_grid") {
    eval_sizes_ = parse_sizes(config.sizes, "sizes");
    train_stages_ = parse_curriculum(config.curriculum);
    if (train_stages_.empty()) train_stages_ = {{0, eval_sizes_}};
    check_pools(eval_sizes_);
    for (const SizeStage& stage : train_stages_) check_pools(stage.sizes);
    if (!config.path.empty()) eval_rows_ = read_file(config.path);
  }

  std::string name() const override { return "logic_grid"; }

  int64_t size(Split split) const override {
    if (split == Split::kTrain) return config_.num_train.value_or(-1);
    return eval_rows_.empty() ? config_.num_eval : static_cast<int64_t>(eval_rows_.size());
  }

  Problem problem(Split split, int64_t index) const override {
    const int64_t n = size(split);
    PAN_CHECK(index >= 0 && (n < 0 || index < n), kInternal, "problem index out of range")
        .expected(n < 0 ? "not negative" : "below " + std::to_string(n))
        .got(std::to_string(index));
    if (split == Split::kEval && !eval_rows_.empty())
      return from_file(eval_rows_[static_cast<size_t>(index)]);
    return generated(split, index);
  }

  Verdict judge(const Problem& problem, const std::string& answer) const override {
    Verdict v;
    v.terms = {{"puzzle", 0.0}, {"cell", 0.0}, {"format", 0.0}, {"no_answer", 1.0}};
    SolutionTable truth;
    try {
      truth = parse_solution(problem.reference, problem.id);
    } catch (const core::Error&) {
      return v;  // a problem of another task
    }
    const int houses = static_cast<int>(truth.rows.size());
    const ReadGrid grid = config_.answer_style == AnswerStyle::kJson
                              ? read_json_answer(answer, truth.attributes, houses)
                              : read_lines_answer(answer, truth.attributes, houses);
    const CellCount cells = compare(grid, truth);
    v.answered = grid.answered;
    v.correct = cells.right == cells.all;
    v.extracted = vote_of(grid);
    v.right_cells = cells.right;
    v.terms["puzzle"] = v.correct ? 1 : 0;
    v.terms["cell"] = static_cast<double>(cells.right) / cells.all;
    v.terms["format"] = grid.exact ? 1 : 0;
    v.terms["no_answer"] = grid.answered ? 0 : 1;
    v.reward =
        v.terms["puzzle"] + config_.cell_weight * v.terms["cell"] + config_.format_weight * v.terms["format"];
    return v;
  }

  // With examples a model may go on with a puzzle of its own, whose houses would count instead.
  std::vector<std::string> stop_strings() const override {
    if (!few_shot_.on()) return {};
    return {config_.prompt_style == PromptStyle::kCompact ? "\n\n" : "\n# Solved example"};
  }

 private:
  void check_pools(const std::vector<SizeWeight>& sizes) const {
    for (const SizeWeight& s : sizes) {
      PAN_CHECK(s.shape.houses <= config_.value_pool, kConfig, "value_pool is smaller than a puzzle needs")
          .pointer("/task/value_pool")
          .expected("at least " + std::to_string(s.shape.houses) + " for size " + to_string(s.shape))
          .got(std::to_string(config_.value_pool));
      PAN_CHECK(s.shape.attributes <= config_.attribute_pool, kConfig,
                "attribute_pool is smaller than a puzzle needs")
          .pointer("/task/attribute_pool")
          .expected("at least " + std::to_string(s.shape.attributes) + " for size " + to_string(s.shape))
          .got(std::to_string(config_.attribute_pool));
    }
  }

  // The puzzle of an index; `stream` is left where the worked answer goes on drawing.
  Drawn drawn(Split split, int64_t index, core::rng::Stream& stream) const {
    const bool train = split == Split::kTrain;
    const Shape shape = draw_size(train ? sizes_at(train_stages_, index) : eval_sizes_, stream);
    return draw(shape, stream,
                {config_.seed,
                 {static_cast<int>(config_.attribute_pool), static_cast<int>(config_.value_pool)},
                 {train ? Side::kTrain : Side::kEval, config_.direct_deduction}});
  }

  std::string answer_of(const Drawn& d, const SolutionTable& table, bool worked) const {
    if (config_.prompting == Prompting::kDirect) return bare_answer(table, config_.answer_style);
    return answer_text(
        worked ? explain(d.puzzle, d.wording, config_.prompt_style) : std::vector<std::string>(), table,
        config_.answer_style);
  }

  Asking asking(const std::string& puzzle) const {
    Asking a{.prompting = config_.prompting};
    if (!few_shot_.on()) return a;
    const auto at = [&](int64_t index) -> Example {
      core::rng::Stream stream = stream_of(config_.seed, Split::kTrain, index);
      const Drawn d = drawn(Split::kTrain, index, stream);
      return {puzzle_text(d.puzzle, d.wording, config_.prompt_style),
              answer_of(d, table_of(d.puzzle, d.wording), true)};
    };
    for (const Example& e : few_shot_.pick(size(Split::kTrain), puzzle, at))
      a.examples.push_back({e.question, e.answer});
    return a;
  }

  Problem generated(Split split, int64_t index) const {
    const bool train = split == Split::kTrain;
    core::rng::Stream stream = stream_of(config_.seed, split, index);
    const Drawn d = drawn(split, index, stream);
    const SolutionTable table = table_of(d.puzzle, d.wording);
    Problem p;
    p.id = "logic_grid-" + std::string(train ? "train" : "eval") + "-seed" + std::to_string(config_.seed) +
           "-" + std::to_string(index);
    const std::string puzzle = puzzle_text(d.puzzle, d.wording, config_.prompt_style);
    p.prompt = prompt_text(puzzle, table, config_.prompt_style, config_.answer_style, asking(puzzle));
    p.reference = solution_json(table);
    p.num_cells = cells_of(table);
    p.group = to_string(d.puzzle.shape);
    const bool worked = stream.uniform() < config_.worked_share;
    p.answer = answer_of(d, table, worked);
    return p;
  }

  Problem from_file(const FileRow& row) const {
    Problem p;
    p.id = row.id;
    p.prompt =
        prompt_text(row.puzzle, row.solution, config_.prompt_style, config_.answer_style, asking(row.puzzle));
    p.reference = solution_json(row.solution);
    p.num_cells = cells_of(row.solution);
    p.group = std::to_string(row.solution.rows.size()) + "x" + std::to_string(row.solution.attributes.size());
    p.answer = config_.prompting == Prompting::kDirect ? bare_answer(row.solution, config_.answer_style)
                                                       : row.answer;
    return p;
  }

  LogicGridConfig config_;
  FewShot few_shot_;
  std::vector<SizeWeight> eval_sizes_;
  std::vector<SizeStage> train_stages_;
  std::vector<FileRow> eval_rows_;
};

}  // namespace

std::shared_ptr<const Task> make_task(const LogicGridConfig& config) {
  return std::make_shared<LogicGrid>(config);
}

}  // namespace pan::tasks::logic_grid
