// What reads single entries of the map with the rows' final log-sum-exp: the band, its column means, anchor
// mass.

namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {

constexpr float kLog2E = 1.44269504f;

// 2^(S - lse): lse (nat) of the rows in the lanes.
PAN_INLINE Vec attention_of(const float* scores, Vec lse_log2) {
  return exp2_nonpositive(load(scores) - lse_log2);
}

// `count` floats and zeros behind them.
PAN_INLINE void load_row(const float* from, int64_t count, float factor, float* to) {
  for (int64_t i = 0; i < kPanel; ++i) to[i] = i < count ? from[i] * factor : 0.0f;
}

// Row `i` of a buffer of rows as the product takes them.
PAN_INLINE void gather_row(const Product& p, const void* from, int64_t i, float* buffer) {
  if (!p.pairs) return widen(from, p.type, p.size, buffer + i * p.size);
  uint16_t* to = reinterpret_cast<uint16_t*>(buffer) + i * p.size;
  for (int64_t d = 0; d < p.size; ++d) to[d] = static_cast<const uint16_t*>(from)[d];
}

static size_t band_scratch(const BandJob& job) {
  const int64_t keys = kPanel + job.hi - job.lo;
  return static_cast<size_t>(keys * kPanel + job.heads.head_size * kPanel + kPanel +
                             kKeyTile * (job.heads.head_size + kPanel)) *
         sizeof(float);
}

// Rows [t_begin, t_end), at most kPanel of them, all heads of non-zero weight.
static void band(const BandJob& job, const RowsTask& task, void* scratch) {
  const Heads& h = job.heads;
  const Product product = product_of(h.type, h.head_size, h.scale_log2);
  const int64_t width = job.hi - job.lo + 1, count = task.t_end - task.t_begin;
  const int64_t s_begin = max_of(0, task.t_begin - job.hi),
                s_end = task.t_end - job.lo;  // keys in reach of a row
  if (s_end <= s_begin) return;
  float* sums = static_cast<float*>(scratch);  // [s_end - s_begin][kPanel]
  float* scores = sums + (kPanel + width - 1) * kPanel;
  float* lse = scores + kKeyTile * kPanel;
  float* query = lse + kPanel;
  float* key_buffer = query + h.head_size * kPanel;
  for (int64_t i = 0; i < (s_end - s_begin) * kPanel; ++i) sums[i] = 0.0f;
  for (int64_t head = 0; head < job.num_heads; ++head) {
    const float weight = job.head_weights[head];
    if (weight == 0.0f) continue;
    const int64_t n = task.sequence_begin + task.t_begin;
    load_row(job.lse + head * job.num_tokens + n, count, kLog2E, lse);
    pack_panel(product, row_of(h.q, h.type, n, head), h.q.stride_token, count, query);
    for (int64_t s = s_begin; s < s_end; s += kKeyTile) {
      const int64_t num_keys = min_of(kKeyTile, s_end - s);
      const KeyRows keys = key_rows(product, row_of(h.k, h.type, task.sequence_begin + s, head / h.group),
                                    h.k.stride_token, num_keys, key_buffer);
      multiply(product, query, keys, 0, num_keys, scores);
      float* sum = sums + (s - s_begin) * kPanel;
      for (int64_t i = 0; i < num_keys * kPanel; i += kLanes) {
        const Vec a = attention_of(scores + i, load(lse + i % kPanel));
        store(sum + i, fma(splat(weight), a, load(sum + i)));
      }
    }
  }
  const int64_t reach = job.sliding_window > 0 ? min_of(job.hi, job.sliding_window - 1) : job.hi;
  for (int64_t lane = 0; lane < count; ++lane) {
    const int64_t t = task.t_begin + lane;
    float* out = job.out + (task.sequence_begin + t) * width;
    for (int64_t d = job.lo; d <= min_of(t, reach); ++d)
      out[d - job.lo] = sums[(t - d - s_begin) * kPanel + lane];
  }
}

static size_t fai_scratch(const FaiJob& job) {
  return static_cast<size_t>(job.heads.head_size * kPanel + kKeyTile * (job.heads.head_size + kPanel)) *
         sizeof(float);
}

// Keys [s_begin, s_end), at most kPanel of them, of one query head: here the lanes are keys and the rows pass
// by.
static void fai(const FaiJob& job, const FaiTask& task, void* scratch) {
  const Heads& h = job.heads;
  const Product product = product_of(h.type, h.head_size, h.scale_log2);
  const int64_t count = task.s_end - task.s_begin;
  float* scores = static_cast<float*>(scratch);
  float* panel = scores + kKeyTile * kPanel;
  float* row_buffer = panel + h.head_size * kPanel;
  const int64_t key_head = task.head / h.group;
  pack_panel(product, row_of(h.k, h.type, task.sequence_begin + task.s_begin, key_head), h.k.stride_token,
             count, panel);
  const float* lse = job.lse + task.head * job.num_tokens + task.sequence_begin;
  const int64_t reach = job.sliding_window > 0 ? min_of(job.hi, job.sliding_window - 1) : job.hi;
  const int64_t t_begin = max_of(task.first_row, task.s_begin + job.lo);
  const int64_t t_end = min_of(task.length, task.s_end + reach);
  Vec sum[2] = {splat(0.0f), splat(0.0f)};
  for (int64_t t = t_begin; t < t_end; t += kKeyTile) {
    const int64_t num_rows = min_of(kKeyTile, t_end - t);
    const KeyRows rows = key_rows(product, row_of(h.q, h.type, task.sequence_begin + t, task.head),
                                  h.q.stride_token, num_rows, row_buffer);
    multiply(product, panel, rows, 0, num_rows, scores);
    for (int64_t i = 0; i < num_rows; ++i) {
      const Vec row_lse = splat(lse[t + i] * kLog2E);
      const Vec first =
          splat(static_cast<float>(t + i - task.s_begin)) - lane_numbers();  // t - s of the first vector
      for (int half = 0; half < 2; ++half) {
        const Vec distance = first - splat(static_cast<float>(half * kLanes));
        const VecInt inside =
            (distance >= splat(static_cast<float>(job.lo))) & (distance <= splat(static_cast<float>(reach)));
        const Vec a = attention_of(scores + i * kPanel + half * kLanes, row_lse);
        sum[half] = sum[half] + select(inside, a, splat(0.0f));
      }
    }
  }
  float* out = job.out + task.head * job.num_tokens + task.sequence_begin;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t s = task.s_begin + i;
    const int64_t rows = min_of(task.length - 1, s + job.hi) - max_of(task.first_row, s + job.lo) + 1;
    out[s] = rows > 0 ? sum[i / kLanes][i % kLanes] / static_cast<float>(rows) : 0.0f;
  }
}

static size_t anchor_scratch(const AnchorJob& job) {
  return static_cast<size_t>(job.heads.head_size * kPanel + kPanel +
                             kKeyTile * (job.heads.head_size + kPanel)) *
         sizeof(float);
}

// Rows [t_begin, t_end), at most kPanel, of one step, one head.
static void anchor(const AnchorJob& job, const AnchorTask& task, void* scratch) {
  const Heads& h = job.heads;
  const Product product = product_of(h.type, h.head_size, h.scale_log2);
  const int64_t count = task.t_end - task.t_begin, n = task.sequence_begin + task.t_begin;
  float* scores = static_cast<float*>(scratch);
  float* lse = scores + kKeyTile * kPanel;
  float* query = lse + kPanel;
  float* keys = query + h.head_size * kPanel;
  load_row(job.lse_ns + task.head * job.num_tokens + n, count, kLog2E, lse);
  pack_panel(product, row_of(h.q, h.type, n, task.head), h.q.stride_token, count, query);
  Vec sum[2] = {splat(0.0f), splat(0.0f)};
  const Vec window = splat(job.sliding_window > 0 ? static_cast<float>(job.sliding_window) : 1e30f);
  for (int64_t i = 0; i < task.num_anchors; i += kKeyTile) {
    const int64_t num_keys = min_of(kKeyTile, task.num_anchors - i);
    for (int64_t j = 0; j < num_keys; ++j) {
      const int64_t token = task.sequence_begin + task.anchors[i + j];
      gather_row(product, row_of(h.k, h.type, token, task.head / h.group), j, keys);
    }
    multiply(product, query, {keys, h.head_size, product.pairs}, 0, num_keys, scores);
    for (int64_t j = 0; j < num_keys; ++j) {
      const Vec first = lane_numbers() + splat(static_cast<float>(task.t_begin - task.anchors[i + j]));
      for (int half = 0; half < 2; ++half) {
        const Vec a = attention_of(scores + j * kPanel + half * kLanes, load(lse + half * kLanes));
        const VecInt visible = first + splat(static_cast<float>(half * kLanes)) < window;
        sum[half] = sum[half] + select(visible, a, splat(0.0f));
      }
    }
  }
  float* out = job.out + task.out_row * job.num_tokens + n;
  for (int64_t i = 0; i < count; ++i) out[i] = sum[i / kLanes][i % kLanes];
}

}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
