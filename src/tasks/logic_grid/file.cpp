#include "tasks/logic_grid/file.h"

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "tasks/jsonl_rows.h"
#include "tasks/logic_grid/explain.h"
#include "tasks/logic_grid/score.h"

namespace pan::tasks::logic_grid {
namespace {

using core::Json;

Json clue_json(const Clue& c, const Drawn& d) {
  Json out = {{"kind", name_of(c.kind)}, {"a", value_word(d.puzzle, d.wording, c.a)}};
  if (is_unary(c.kind)) {
    out["house"] = c.house + 1;
  } else {
    out["b"] = value_word(d.puzzle, d.wording, c.b);
  }
  return out;
}

bool is_blank(const std::string& cell) {
  return cell.empty() || cell.find_first_not_of("_ ") == std::string::npos;
}

FileRow read_row(const Json& json, const std::string& path, int64_t line) {
  const std::string place = path + ", line " + std::to_string(line);
  FileRow row;
  row.id = text_of(json, "id", path, line);
  row.puzzle = text_of(json, "puzzle", path, line);
  if (json.contains("answer") && json["answer"].is_string()) row.answer = json["answer"].get<std::string>();
  PAN_CHECK(json.contains("solution"), kData, "a puzzle has no solution").where(place).pointer("/solution");
  row.solution = parse_solution(core::dump_json(json["solution"]), place);
  for (const auto& cells : row.solution.rows)
    for (const std::string& cell : cells)
      PAN_CHECK(!is_blank(cell), kData, "the solutions of this file have been blanked")
          .where(place)
          .remedy(
              "Answers cannot be scored with it. Use a copy that has the solutions "
              "(allenai/ZebraLogicBench-private, "
              "on request) or puzzles from 'pan-ppo tasks logic-grid'.");
  const Shape size = parse_shape(text_of(json, "size", path, line));
  PAN_CHECK(static_cast<size_t>(size.houses) == row.solution.rows.size() &&
                static_cast<size_t>(size.attributes) == row.solution.attributes.size(),
            kData, "a puzzle's size is not that of its solution")
      .where(place)
      .expected(to_string(size))
      .got(std::to_string(row.solution.rows.size()) + "x" + std::to_string(row.solution.attributes.size()));
  return row;
}

}  // namespace

core::rng::Stream stream_of(int64_t seed, Split split, int64_t index) {
  return core::rng::Stream({static_cast<uint64_t>(seed), core::rng::Purpose::kTask,
                            static_cast<uint64_t>(index), split == Split::kTrain ? 0u : 1u});
}

Drawn draw(Shape shape, core::rng::Stream& stream, const DrawOptions& options) {
  Drawn d;
  d.puzzle = generate(shape, stream, options.generate);
  d.wording = draw_wording(shape, options.pools, stream);
  return d;
}

std::string file_row(const FileOptions& o, int64_t index) {
  core::rng::Stream stream = stream_of(o.seed, o.split, index);
  const bool train = o.split == Split::kTrain;
  const Drawn d =
      draw(o.shape, stream, {o.seed, o.pools, {train ? Side::kTrain : Side::kEval, o.direct_deduction}});
  const SolutionTable table = table_of(d.puzzle, d.wording);
  const std::string text = puzzle_text(d.puzzle, d.wording, o.prompt_style);
  Json clues = Json::array();
  for (const Clue& c : d.puzzle.clues) clues.push_back(clue_json(c, d));
  Json row;
  row["id"] = "logic_grid-" + to_string(o.shape) + "-" + (train ? "train" : "eval") + "-seed" +
              std::to_string(o.seed) + "-" + std::to_string(index);
  row["size"] = std::to_string(o.shape.houses) + "*" + std::to_string(o.shape.attributes);
  row["puzzle"] = text;
  row["solution"] = core::parse_json(solution_json(table), "solution");
  row["clues"] = clues;
  row["prompt"] = prompt_text(text, table, o.prompt_style, o.answer_style);
  row["answer"] = answer_text(explain(d.puzzle, d.wording, o.prompt_style), table, o.answer_style);
  return core::dump_json(row);
}

void write_file(const FileOptions& options, const std::string& path) {
  PAN_CHECK(options.count >= 1, kUsage, "the number of puzzles must be positive")
      .where("pan-ppo tasks logic-grid")
      .pointer("--count")
      .expected(">= 1")
      .got(std::to_string(options.count));
  core::Disk& disk = core::disk();
  const std::string unfinished = path + ".tmp";
  auto out = disk.create(unfinished);
  for (int64_t i = 0; i < options.count; ++i) {
    const std::string row = file_row(options, i) + "\n";
    out->write(row.data(), row.size());
  }
  out->sync();
  out->close();
  disk.rename(unfinished, path);
}

std::vector<FileRow> read_file(const std::string& path) {
  std::vector<FileRow> rows;
  std::set<std::string> ids;
  read_jsonl(path, "Check task.path, or make puzzles with 'pan-ppo tasks logic-grid'.",
             [&](const Json& json, int64_t line) {
               rows.push_back(read_row(json, path, line));
               PAN_CHECK(ids.insert(rows.back().id).second, kData, "two puzzles have the same id")
                   .where(path + ", line " + std::to_string(line))
                   .got(rows.back().id);
             });
  return rows;
}

}  // namespace pan::tasks::logic_grid
