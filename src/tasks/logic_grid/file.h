// Logic grids in files: ZebraLogic's JSONL rows (allenai/ZebraLogicBench, grid_mode), read and written.
//
//   write_file({.shape = {3, 3}, .count = 100, .seed = 7}, "grids.jsonl");   // pan-ppo tasks logic-grid
//   std::vector<FileRow> rows = read_file("grids.jsonl");
//
// Row: id, size ("3*4", houses * attributes), puzzle (text), solution {header, rows}; written rows also have
// clues (kind and words, for programs), prompt and answer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pan/task.h"
#include "tasks/logic_grid/generator.h"
#include "tasks/logic_grid/text.h"

namespace pan::tasks::logic_grid {

// One puzzle with its words: a pure function of its arguments, and what both the task and the files are made
// of.
struct Drawn {
  Puzzle puzzle;
  Wording wording;
};
struct DrawOptions {
  int64_t seed = 1;
  Pools pools = {};
  GenerateOptions generate = {};
};
// `stream` has been used for nothing but the choice of the size.
Drawn draw(Shape shape, core::rng::Stream& stream, const DrawOptions& options);
// The stream of problem `index` of a split.
core::rng::Stream stream_of(int64_t seed, Split split, int64_t index);

struct FileOptions {
  Shape shape = {3, 3};
  int64_t count = 100;
  int64_t seed = 1;
  Split split = Split::kTrain;
  PromptStyle prompt_style = PromptStyle::kFull;
  AnswerStyle answer_style = AnswerStyle::kJson;
  Pools pools = {};
  bool direct_deduction = false;
};
// One row, without a line break. Index >= 0.
std::string file_row(const FileOptions& options, int64_t index);
// All rows, published under `path` when complete. Errors: kUsage for a bad count, kIo from the disk.
void write_file(const FileOptions& options, const std::string& path);

struct FileRow {
  std::string id, puzzle, answer;  // answer: worked answer, empty in the benchmark's own files
  SolutionTable solution;
};
// Errors: kData with line: a missing key, a size that is not the solution's, a solution that has been blanked
// (the public copy of the benchmark), the same id twice.
std::vector<FileRow> read_file(const std::string& path);

}  // namespace pan::tasks::logic_grid
