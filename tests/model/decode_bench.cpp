// Times a decoder: load, prefill, decode, scoring forward, forward and backward. Not a test.
//   decode_bench MODEL_FOLDER [float32|bfloat16] [BATCH]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>

#include "model/decoder.h"

namespace {

using pan::model::Batch;
using Clock = std::chrono::steady_clock;

// Processor seconds of all threads: what counts on a machine with other work on it.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<std::vector<int64_t>> random_rows(const pan::model::Arch& arch, int64_t count, int64_t length) {
  std::vector<std::vector<int64_t>> rows(static_cast<size_t>(count));
  uint64_t state = 1;
  for (auto& row : rows) {
    for (int64_t t = 0; t < length; ++t) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      row.push_back(static_cast<int64_t>((state >> 33) % static_cast<uint64_t>(arch.vocab_size)));
    }
  }
  return rows;
}

void time_decode(const pan::model::Decoder& decoder, int64_t batch, int64_t prompt, int64_t steps) {
  pan::model::KvCache cache(decoder.arch(), batch, prompt + steps + 1, decoder.options().dtype, at::kCPU);
  std::vector<int64_t> slots;
  for (int64_t i = 0; i < batch; ++i) slots.push_back(i);
  auto start = Clock::now();
  at::Tensor hidden =
      decoder.prefill(pan::model::pack(random_rows(decoder.arch(), batch, prompt), at::kCPU), cache, slots);
  std::printf("prefill %ld x %ld: %.0f token/s\n", batch, prompt,
              static_cast<double>(batch * prompt) / seconds_since(start));
  double best = 1e9, logits_s = 0, total = 0, best_cpu = 1e9;
  for (int64_t step = 0; step < steps; ++step) {
    start = Clock::now();
    const double cpu_start = cpu_seconds();
    const at::Tensor logits = output_logits(decoder, hidden);
    logits_s += seconds_since(start);
    const at::Tensor next = logits.argmax(-1);
    hidden = decoder.decode(next, cache, slots);
    const double s = seconds_since(start);
    total += s;
    best = std::min(best, s);
    best_cpu = std::min(best_cpu, cpu_seconds() - cpu_start);
  }
  std::printf(
      "decode %ld rows: %.1f token/s (best step %.1f ms, %.1f ms of processor; mean %.1f ms, of it logits "
      "%.1f ms)\n",
      batch, static_cast<double>(batch * steps) / total, 1e3 * best, 1e3 * best_cpu,
      1e3 * total / static_cast<double>(steps), 1e3 * logits_s / static_cast<double>(steps));
}

void time_training(const pan::model::Decoder& decoder, int64_t batch, int64_t length) {
  const Batch rows = pan::model::pack(random_rows(decoder.arch(), batch, length), at::kCPU);
  const double tokens = static_cast<double>(rows.num_tokens());
  for (int repeat = 0; repeat < 2; ++repeat) {
    const double cpu_start = cpu_seconds();
    auto start = Clock::now();
    {
      c10::NoGradGuard no_grad;
      decoder.hidden(rows);
    }
    const double cpu = cpu_seconds() - cpu_start;
    std::printf("score %ld x %ld: %.0f token/s (%.2f s of processor)\n", batch, length,
                tokens / seconds_since(start), cpu);
  }
  for (auto& [name, parameter] : decoder.parameters())
    const_cast<at::Tensor&>(parameter).set_requires_grad(true);
  for (int repeat = 0; repeat < 2; ++repeat) {
    const double cpu_start = cpu_seconds();
    auto start = Clock::now();
    const at::Tensor loss = decoder.hidden(rows).to(at::kFloat).square().mean();
    const double forward = seconds_since(start);
    loss.backward();
    std::printf("train %ld x %ld: %.0f token/s (forward %.2f s, all %.2f s, %.2f s of processor)\n", batch,
                length, tokens / seconds_since(start), forward, seconds_since(start),
                cpu_seconds() - cpu_start);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: decode_bench MODEL_FOLDER [float32|bfloat16] [BATCH]\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    const bool is_bf16 = argc > 2 && std::strcmp(argv[2], "bfloat16") == 0;
    const int64_t batch = argc > 3 ? std::atol(argv[3]) : 8;
    const auto start = Clock::now();
    const auto decoder = pan::model::load_decoder(argv[1], {is_bf16 ? at::kBFloat16 : at::kFloat, at::kCPU});
    std::printf("%s, %d threads; load %.2f s\n", is_bf16 ? "bfloat16" : "float32", at::get_num_threads(),
                seconds_since(start));
    time_decode(*decoder, batch, 64, 48);
    time_training(*decoder, batch, 128);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
