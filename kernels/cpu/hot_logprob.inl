// Log-probability and entropy over the vocabulary: the same panels and online softmax as the row statistics,
// with rows of the output matrix as keys, so that logits exist only as one tile.

namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {

static int64_t num_panels_of(int64_t rows) { return (rows + kPanel - 1) / kPanel; }

// Floats of the packed hidden states of `rows` rows.
static int64_t logprob_packed_floats(const LogprobJob& job, int64_t rows) {
  return num_panels_of(rows) * job.size * kPanel;
}

// Packs panel `task` of the hidden states.
static void logprob_pack(const LogprobJob& job, int64_t task) {
  const int64_t first = task * kPanel;
  pack_panel(product_of(job.type, job.size, job.scale_log2),
             advance(job.hidden, job.type, first * job.hidden_stride), job.hidden_stride,
             min_of(kPanel, job.rows - first), job.packed + task * job.size * kPanel);
}

static size_t logprob_scratch(const LogprobJob& job) {
  return static_cast<size_t>(num_panels_of(job.rows)) * sizeof(Sums) +
         static_cast<size_t>(kKeyTile * (kPanel + job.size)) * sizeof(float);
}

// The part of chunk `task` of the vocabulary in the sums of every row.
static void logprob(const LogprobJob& job, int64_t task, void* scratch) {
  const int64_t panels = num_panels_of(job.rows), begin = task * job.chunk,
                end = min_of(begin + job.chunk, job.vocab);
  Sums* sums = static_cast<Sums*>(scratch);
  float* scores = reinterpret_cast<float*>(sums + panels);
  float* buffer = scores + kKeyTile * kPanel;
  float* out_max = job.partial + task * 3 * job.rows;
  float *out_sum = out_max + job.rows, *out_spread = out_sum + job.rows;
  for (int64_t p = 0; p < panels; ++p) clear(sums[p]);
  const RowStatsJob unused{};
  const Product product = product_of(job.type, job.size, job.scale_log2);
  for (int64_t v = begin; v < end; v += kKeyTile) {
    const int64_t count = min_of(kKeyTile, end - v);
    const KeyRows keys = key_rows(product, advance(job.weight, job.type, v * job.weight_stride),
                                  job.weight_stride, count, buffer);
    for (int64_t p = 0; p < panels; ++p) {
      multiply(product, job.packed + p * job.size * kPanel, keys, 0, count, scores);
      for (int lane = 0; lane < kPanel; lane += kLanes) {
        add_tile<Wanted<true, false, false>, false>(sums[p], lane, scores, v, count, splat(0.0f), unused);
      }
      const int64_t rows = min_of(kPanel, job.rows - p * kPanel);
      for (int64_t lane = 0; lane < rows; ++lane) {
        const int64_t row = p * kPanel + lane, at = job.targets[row] - v;
        if (at >= 0 && at < count) job.target_score[row] = scores[at * kPanel + lane];
      }
    }
  }
  for (int64_t row = 0; row < job.rows; ++row) {
    out_max[row] = sums[row / kPanel].m[row % kPanel];
    out_sum[row] = sums[row / kPanel].l[row % kPanel];
    out_spread[row] = sums[row / kPanel].v[row % kPanel];
  }
}

}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
