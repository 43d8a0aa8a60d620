// Attention of one new token per row over a cache, beside SDPA of the same.
#include <vector>

#include "kernels/bench/bench.h"
#include "kernels/decode_attention.h"

namespace pan::kernels::bench {
namespace {

constexpr int64_t kRows = 8;

std::vector<Cell> measure(const ModelHeads& model, int64_t length, at::ScalarType type,
                          const Settings& settings) {
  at::manual_seed(1);
  const auto random = [&](at::IntArrayRef shape) { return at::randn(shape).to(settings.device, type); };
  const at::Tensor q = random({kRows, model.num_heads, model.head_size});
  const at::Tensor k = random({kRows, model.num_key_heads, length, model.head_size});
  const at::Tensor v = random({kRows, model.num_key_heads, length, model.head_size});
  at::Tensor out = at::empty_like(q);
  std::vector<int64_t> slots;
  for (int64_t b = 0; b < kRows; ++b) slots.push_back(b);
  const std::vector<int64_t> lengths(kRows, length);
  const auto ours = [&] { decode_attention(q, k, v, slots, lengths, 0, out); };
  const double ms = pan::bench::median_ms(ours, settings.timing());
  const double sdpa = sdpa_ms(q.unsqueeze(2), k, v, false, settings);
  return {text("heads of", model.name),
          text("type", type_name(type)),
          number("cached", static_cast<double>(length), 0),
          number("ms", ms, 4),
          number("SDPA ms", sdpa, 4),
          number("of SDPA", ms / sdpa, 2),
          number("GB/s", static_cast<double>(k.nbytes() + v.nbytes()) / ms * 1e-6, 1)};
}

}  // namespace

Table decode_section(const Settings& settings) {
  Table table(
      "decode",
      "Decode attention of 8 rows with that many cached tokens each; GB/s: keys and values read once.");
  for (at::ScalarType type : {at::kFloat, at::kBFloat16})
    for (const ModelHeads& model : {kSmolLM2, kQwen2, kQwen3})
      for (int64_t length : {300, 2048}) table.add(measure(model, length, type, settings));
  return table;
}

}  // namespace pan::kernels::bench
