// What the sections of kernel_bench share: settings, tables, peak memory, and which attention forward to
// compare with.
//
//   Table table("decode", "Decode attention ...");
//   table.add({text("heads of", "Qwen3-4B"), number("ms", 1.25, 2), number("sdpa ms", kNotRun, 2)});
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/bench/timing.h"

namespace pan::kernels::bench {

struct Settings {
  at::Device device = at::kCPU;
  int threads = 1;
  bool quick = false;
  std::string only;  // a section, or empty for all
  std::string json;

  pan::bench::TimingOptions timing() const {
    return {.device = device, .own_thread = threads == 1, .budget_s = quick ? 0.3 : 1.0};
  }
  // For what takes seconds, after a call for its memory.
  pan::bench::TimingOptions slow_timing() const {
    pan::bench::TimingOptions o = timing();
    o.at_least = 1, o.warm_up = false;
    return o;
  }
};

// GFLOP/s that can be reached with inputs of a type: multiply-adds in registers with the instructions in use
// (all threads), or on a GPU a product of 8192 x 8192 matrices.
struct Peaks {
  double float32 = 0, bfloat16 = 0;
  double of(at::ScalarType type) const { return type == at::kFloat ? float32 : bfloat16; }
};

constexpr double kNotRun = std::numeric_limits<double>::quiet_NaN();

struct Cell {
  std::string name, value;
  bool is_text;
};
Cell text(const char* name, std::string value);
Cell number(const char* name, double value, int digits);  // kNotRun: "-", null in the file

// A Markdown table, printed row by row while it grows. Every row has the cells of the first.
class Table {
 public:
  Table(std::string name, std::string title) : name_(std::move(name)), title_(std::move(title)) {}
  void add(std::vector<Cell> row);
  std::string json() const;  // "name": [{...}, ...]

 private:
  std::string name_, title_;
  std::vector<std::vector<Cell>> rows_;
};

// The most memory that a call takes beyond what there was before it, results included: of the GPU, or of CPU
// tensors and scratch allocated by the calling thread (exact with one thread).
double peak_mb(const std::function<void()>& call, at::Device device);

const char* type_name(at::ScalarType type);

struct ModelHeads {
  const char* name;
  int64_t num_heads, num_key_heads, head_size;
};
constexpr ModelHeads kSmolLM2{"SmolLM2-135M", 9, 3, 64}, kQwen2{"Qwen2.5-0.5B", 14, 2, 64},
    kQwen3{"Qwen3-4B", 32, 8, 128};

// at::scaled_dot_product_attention by its flash implementation only, by the memory-efficient one for float32
// on a GPU, which has no other fused one. Returns kNotRun where it cannot do
// this, the reason on stderr. q [B, H,
// Tq, D], k and v [B, Hkv, T, D].
double sdpa_ms(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool is_causal,
               const Settings& settings);

Table attention_section(const Settings& settings, const Peaks& peaks);
Table logprob_section(const Settings& settings, const Peaks& peaks);
Table decode_section(const Settings& settings);

}  // namespace pan::kernels::bench
