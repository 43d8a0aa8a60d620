// What a model costs here: the attention tap beside the scoring forward that it rides on, generation, and a
// training step. Random weights in the shape of SmolLM2-135M unless a model folder is given. Not a test.
//
//   model_bench [--device cpu|cuda] [--dtype float32|bfloat16] [--threads N] [--model DIR]
//               [--only tap|decode|train] [--rounds N] [--sequences N] [--layers N]
//               [--quick] [--json FILE]
//
// With one thread on the CPU, times are processor time of that thread; else wall time.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <sstream>

#include "core/rng.h"
#include "kernels/bench/timing.h"
#include "kernels/isa.h"
#include "kernels/logprob_entropy.h"
#include "model/decoder.h"
#include "rhythm/measure.h"
#include "rl/optimizer.h"

namespace {

using namespace pan;

struct Settings {
  at::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;
  int threads = 1;
  int rounds = 0;             // pairs of forwards with and without the tap; 0 = by device
  int64_t num_sequences = 0;  // of 300 tokens in the tap's batch; 0 = by device
  int64_t num_layers = 30;
  std::string model, only, json;
  bool quick = false;

  bool wants(const char* part) const { return only.empty() || only == part; }
  int tap_rounds() const { return rounds > 0 ? rounds : quick ? 3 : device.is_cuda() ? 25 : 5; }
  bench::TimingOptions timing() const {
    return {.device = device, .own_thread = threads == 1, .budget_s = quick ? 0.5 : 4.0, .at_least = 3};
  }
};

model::Arch smollm2_135m(int64_t num_layers) {
  model::Arch a;
  a.vocab_size = 49152;
  a.hidden_size = 576;
  a.intermediate_size = 1536;
  a.num_layers = num_layers;
  a.num_heads = 9;
  a.num_kv_heads = 3;
  a.head_dim = 64;
  a.max_positions = 8192;
  a.tied_embeddings = true;
  a.rope.theta = 100000;
  return a;
}

std::vector<std::vector<int64_t>> random_rows(int64_t vocab, int64_t count, int64_t length) {
  core::rng::Stream stream({1, core::rng::Purpose::kTest, 0, 0});
  std::vector<std::vector<int64_t>> rows(static_cast<size_t>(count));
  for (auto& row : rows)
    for (int64_t t = 0; t < length; ++t)
      row.push_back(static_cast<int64_t>(stream.below(static_cast<uint64_t>(vocab))));
  return rows;
}

// Collects lines of the result file.
class Results {
 public:
  void add(const std::string& row) {
    rows_.push_back(row);
    std::printf("%s\n", row.c_str());
    std::fflush(stdout);
  }
  void write(const Settings& s) const {
    if (s.json.empty()) return;
    FILE* file = std::fopen(s.json.c_str(), "w");
    if (file == nullptr) throw std::runtime_error("cannot write " + s.json);
    std::fprintf(file,
                 "{\"device\": \"%s\", \"isa\": \"%s\", \"on\": \"%s\", \"dtype\": \"%s\", \"threads\": %d, "
                 "\"clock\": \"%s\", \"model\": \"%s\",\n"
                 " \"rows\": [\n",
                 bench::device_name(s.device).c_str(), kernels::isa_name(kernels::active_isa()),
                 s.device.str().c_str(), c10::toString(s.type), s.threads,
                 s.device.is_cpu() && s.threads == 1 ? "thread" : "wall",
                 s.model.empty() ? "random weights, shape of SmolLM2-135M" : s.model.c_str());
    for (size_t i = 0; i < rows_.size(); ++i)
      std::fprintf(file, "  %s%s\n", rows_[i].c_str(), i + 1 < rows_.size() ? "," : "");
    std::fprintf(file, " ]}\n");
    std::fclose(file);
  }

 private:
  std::vector<std::string> rows_;
};

template <class... Args>
std::string text(const char* format, Args... args) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return buffer;
}

// A line every 20 tokens, words of four letters: as many steps as reasoning text has.
rhythm::SequenceText text_of(int64_t length, int64_t prompt_length) {
  rhythm::SequenceText t;
  t.prompt_length = prompt_length;
  for (int64_t i = 0; i < length; ++i) {
    t.token_bytes.push_back(i % 20 == 19 ? "\n" : " w" + std::to_string(i % 700));
    t.special.push_back(0);
  }
  return t;
}

// 30 % of the tapped heads in each group, spread over the layers as calibration spreads them.
rhythm::HeadGroups groups_of(const model::Arch& arch, const std::vector<int64_t>& layers) {
  rhythm::HeadGroups groups;
  groups.layers = layers;
  groups.heads_per_layer = arch.num_heads;
  for (size_t l = 0; l < layers.size(); ++l) {
    for (int64_t h = 0; h < arch.num_heads; ++h) {
      const int64_t kind = (static_cast<int64_t>(l) * arch.num_heads + h) % 10;
      if (kind < 3) groups.local.push_back({layers[l], h});
      if (kind > 6) groups.global.push_back({layers[l], h});
    }
  }
  return groups;
}

// The tap beside the forward that scores a batch: response rows' log-probabilities and entropies.
void time_tap(const model::Decoder& decoder, int64_t count, int64_t length, const Settings& s, Results& out) {
  c10::NoGradGuard no_grad;
  const model::Arch& arch = decoder.arch();
  const int64_t prompt = length / 4;
  const model::Batch batch = model::pack(random_rows(arch.vocab_size, count, length), s.device);
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < count; ++b)
    for (int64_t t = prompt; t < length; ++t) rows.push_back(b * length + t - 1);
  const at::Tensor index = at::tensor(rows, at::kLong).to(s.device);
  const at::Tensor targets = batch.tokens.index_select(0, index + 1);
  const auto layers = model::default_tap_layers(arch);
  const auto groups = groups_of(arch, layers);
  rhythm::RhythmConfig config;
  std::vector<rhythm::SequenceText> texts(static_cast<size_t>(count), text_of(length, prompt));

  std::vector<kernels::LayerQk> captured;
  const model::AttentionTap tap{layers, [&](const kernels::LayerQk& qk) { captured.push_back(qk); }};
  const auto score = [&](const model::AttentionTap* with) {
    const at::Tensor hidden = decoder.hidden(batch, with).index_select(0, index);
    kernels::logprob_entropy(hidden, decoder.output_weight(), targets, {});
  };
  const auto plain = [&] { score(nullptr); };
  const auto tapped = [&] {
    captured.clear();
    score(&tap);
    rhythm::measure(captured, batch.cu_seqlens, texts, groups, config);
  };
  tapped();
  const auto tap_alone = [&] { rhythm::measure(captured, batch.cu_seqlens, texts, groups, config); };
  // In turns, the first one changing: what else the machine does meets both.
  std::vector<double> plain_ms, tapped_ms, ratios;
  for (int i = 0; i < s.tap_rounds(); ++i) {
    if (i % 2 == 1) tapped_ms.push_back(bench::once_ms(tapped, s.timing()));
    plain_ms.push_back(bench::once_ms(plain, s.timing()));
    if (i % 2 == 0) tapped_ms.push_back(bench::once_ms(tapped, s.timing()));
    ratios.push_back(tapped_ms.back() / plain_ms.back());
  }
  const auto [lowest, highest] = std::minmax_element(ratios.begin(), ratios.end());
  const double alone_ms = bench::median_ms(tap_alone, s.timing());
  out.add(
      text("{\"what\": \"tap\", \"T\": %ld, \"sequences\": %ld, \"tapped_layers\": %zu, \"rounds\": %zu, "
           "\"scoring_forward_ms\": %.3f, \"with_tap_ms\": %.3f, \"ratio\": %.5f, \"lowest_ratio\": %.5f, "
           "\"highest_ratio\": %.5f, \"tap_alone_ms\": %.3f, \"ratio_by_parts\": %.5f}",
           static_cast<long>(length), static_cast<long>(count), layers.size(), ratios.size(),
           bench::median(plain_ms), bench::median(tapped_ms), bench::median(ratios), *lowest, *highest,
           alone_ms, 1 + alone_ms / bench::median(plain_ms)));
}

void time_decode(const model::Decoder& decoder, int64_t count, const Settings& s, Results& out) {
  c10::NoGradGuard no_grad;
  const int64_t prompt = 128, steps = s.quick ? 8 : 64;
  model::KvCache cache(decoder.arch(), count, prompt + steps + 2, s.type, s.device);
  std::vector<int64_t> slots;
  for (int64_t i = 0; i < count; ++i) slots.push_back(i);
  const model::Batch batch = model::pack(random_rows(decoder.arch().vocab_size, count, prompt), s.device);
  at::Tensor hidden = decoder.prefill(batch, cache, slots);  // to warm up
  bench::synchronize(s.device);
  const double begin = bench::clock_s(CLOCK_MONOTONIC);
  hidden = decoder.prefill(batch, cache, slots);
  bench::synchronize(s.device);
  const double filled = bench::clock_s(CLOCK_MONOTONIC);
  for (int64_t i = 0; i < steps; ++i)
    hidden = decoder.decode(model::output_logits(decoder, hidden).argmax(-1), cache, slots);
  bench::synchronize(s.device);
  const double end = bench::clock_s(CLOCK_MONOTONIC);
  out.add(
      text("{\"what\": \"decode\", \"rows\": %ld, \"prompt\": %ld, \"new_tokens\": %ld, "
           "\"prefill_tokens_per_s\": %.0f, \"tokens_per_s\": %.1f, \"step_ms\": %.3f}",
           static_cast<long>(count), static_cast<long>(prompt), static_cast<long>(steps),
           static_cast<double>(count * prompt) / (filled - begin),
           static_cast<double>(count * steps) / (end - filled),
           (end - filled) / static_cast<double>(steps) * 1e3));
}

// Forward, backward and AdamW on next-token log-probabilities: an update's cost without the PPO bookkeeping.
void time_training(const model::Decoder& decoder, int64_t count, int64_t length, const Settings& s,
                   Results& out) {
  const model::Batch batch = model::pack(random_rows(decoder.arch().vocab_size, count, length), s.device);
  const at::Tensor targets = batch.tokens.roll(-1);
  rl::Optimizer optimizer(decoder.parameters(), {}, 1000);
  const auto step = [&] {
    const auto scores = kernels::logprob_entropy(decoder.hidden(batch), decoder.output_weight(), targets, {});
    scores.logprob.mean().neg().backward();
    optimizer.step();
  };
  const double ms = bench::median_ms(step, s.timing());
  double peak_mb = 0;
  if (s.device.is_cuda()) peak_mb = bench::device_peak_mb(step, s.device);
  out.add(
      text("{\"what\": \"train\", \"T\": %ld, \"sequences\": %ld, \"step_ms\": %.2f, "
           "\"tokens_per_s\": %.0f, \"peak_extra_mb\": %.0f}",
           static_cast<long>(length), static_cast<long>(count), ms,
           static_cast<double>(count * length) / ms * 1e3, peak_mb));
}

int usage() {
  std::printf(
      "model_bench [--device cpu|cuda] [--dtype float32|bfloat16] [--threads N] [--model DIR]\n"
      "            [--only tap|decode|train] [--rounds N] [--sequences N] [--layers N]\n"
      "            [--quick] [--json FILE]\n");
  return 2;
}

bool parse(int argc, char** argv, Settings& s) {
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--quick") {
      s.quick = true;
      continue;
    }
    if (i + 1 >= argc) return false;
    const std::string value = argv[++i];
    if (arg == "--device" && (value == "cpu" || value == "cuda")) {
      s.device = at::Device(value == "cuda" ? "cuda:0" : "cpu");
    } else if (arg == "--dtype" && (value == "float32" || value == "bfloat16")) {
      s.type = value == "float32" ? at::kFloat : at::kBFloat16;
    } else if (arg == "--threads") {
      s.threads = std::max(1, std::atoi(value.c_str()));
    } else if (arg == "--rounds") {
      s.rounds = std::max(1, std::atoi(value.c_str()));
    } else if (arg == "--sequences") {
      s.num_sequences = std::max(1, std::atoi(value.c_str()));
    } else if (arg == "--layers") {
      s.num_layers = std::max(3, std::atoi(value.c_str()));
    } else if (arg == "--model") {
      s.model = value;
    } else if (arg == "--only" && (value == "tap" || value == "decode" || value == "train")) {
      s.only = value;
    } else if (arg == "--json") {
      s.json = value;
    } else {
      return false;
    }
  }
  return true;
}

void run(const Settings& s) {
  at::set_num_threads(s.threads);
  const model::DecoderOptions options{.dtype = s.type, .device = s.device};
  const auto decoder = s.model.empty() ? model::make_decoder(smollm2_135m(s.num_layers), options, 1)
                                       : model::load_decoder(s.model, options);
  std::printf("%s, %s, %d thread(s), %ld layers\n", bench::device_name(s.device).c_str(),
              c10::toString(s.type), s.threads, static_cast<long>(decoder->arch().num_layers));
  const bool gpu = s.device.is_cuda();
  Results out;
  if (s.wants("tap")) {
    time_tap(*decoder, s.num_sequences > 0 ? s.num_sequences : gpu ? 64 : 8, 300, s, out);
    time_tap(*decoder, gpu ? 8 : 1, 2048, s, out);
  }
  if (s.wants("decode")) {
    for (int64_t rows : gpu ? std::vector<int64_t>{1, 8, 64, 256} : std::vector<int64_t>{1, 8})
      time_decode(*decoder, rows, s, out);
  }
  if (s.wants("train")) time_training(*decoder, gpu ? 32 : 4, 300, s, out);
  out.write(s);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  if (!parse(argc, argv, settings)) return usage();
  // As the program runs; it changes what CUDA's operations cost.
  at::globalContext().setDeterministicAlgorithms(true, false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  try {
    run(settings);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "model_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
