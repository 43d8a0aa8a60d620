// Row statistics by one pass of an online softmax over key tiles (docs/rhythm.md, section 2), in powers of
// two.

namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {

constexpr int64_t kKeyTile = 48;   // keys per tile; a multiple of every kTileKeys
constexpr float kMasked = -1e30f;  // score of an invisible key; finite, so that 0 * (m - S) is 0
constexpr float kLn2 = 0.693147181f;

// Sums of one set of keys (sink or not) for the rows of a panel, every value per lane, relative to the
// maximum m: l = sum p, v = sum p (m - S), g = sum p (t - s), w = sum p min(t - s, W) with p = 2^(S - m).
struct Sums {
  float m[kPanel], l[kPanel], v[kPanel], g[kPanel], w[kPanel];
};

static void clear(Sums& sums) {
  for (int i = 0; i < kPanel; ++i) {
    sums.m[i] = kMasked;
    sums.l[i] = sums.v[i] = sums.g[i] = sums.w[i] = 0.0f;
  }
}

template <bool kV, bool kG, bool kW>
struct Wanted {
  static constexpr bool v = kV, g = kG, w = kW;
};

// Adds the scores of keys [s, s + count) to the sums of one vector of rows t. kNear: some key is invisible to
// some row or closer than W, so masks and distances are worked out key by key. Otherwise the distances inside
// the tile come from a running sum.
template <class W, bool kNear>
PAN_INLINE void add_tile(Sums& sums, int lane, const float* scores, int64_t s, int64_t count, Vec t,
                         const RowStatsJob& job) {
  const Vec zero = splat(0.0f), one = splat(1.0f);
  const Vec old_m = load(sums.m + lane);
  Vec m = old_m;
  for (int64_t i = 0; i < count; ++i) m = vmax(load(scores + i * kPanel + lane), m);
  const Vec shift = m - old_m;
  const Vec c = exp2_nonpositive(-shift);
  Vec l = zero, v = zero, g = zero, w = zero;
  const Vec limit = splat(static_cast<float>(job.waad_window));
  Vec distance = t - splat(static_cast<float>(s));
  for (int64_t i = 0; i < count; ++i) {
    const Vec x = load(scores + i * kPanel + lane) - m;
    const Vec p = exp2_nonpositive(x);
    if constexpr (kNear) {
      if constexpr (W::g) g = fma(p, distance, g);
      if constexpr (W::w) w = fma(p, vmin(distance, limit), w);
      distance = distance - one;
    } else if constexpr (W::g) {
      g = g + l;  // every key so far is one further from the key after it
    }
    l = l + p;
    if constexpr (W::v) v = fma(p, -x, v);
  }
  if constexpr (!kNear && W::g) g = fma(t - splat(static_cast<float>(s + count - 1)), l, g);
  if constexpr (!kNear && W::w) w = l * limit;
  const Vec old_l = load(sums.l + lane);
  store(sums.m + lane, m);
  store(sums.l + lane, fma(c, old_l, l));
  if constexpr (W::v) store(sums.v + lane, fma(c, fma(shift, old_l, load(sums.v + lane)), v));
  if constexpr (W::g) store(sums.g + lane, fma(c, load(sums.g + lane), g));
  if constexpr (W::w) store(sums.w + lane, fma(c, load(sums.w + lane), w));
}

// Scores of keys that a row does not see become kMasked.
static void mask_tile(float* scores, int64_t s, int64_t count, int64_t t_first, int64_t window) {
  for (int64_t i = 0; i < count; ++i) {
    for (int lane = 0; lane < kPanel; ++lane) {
      const int64_t distance = t_first + lane - (s + i);
      if (distance < 0 || (window > 0 && distance >= window)) scores[i * kPanel + lane] = kMasked;
    }
  }
}

PAN_INLINE Vec lane_numbers() {
  Vec v = splat(0.0f);
  for (int i = 0; i < kLanes; ++i) v[i] = static_cast<float>(i);
  return v;
}

// Both sets of keys merged into the statistics of the rows of one vector; `count` of its lanes are rows.
static void finish(const RowStatsJob& job, const Sums& sink, const Sums& rest, int lane, int64_t t_first,
                   int64_t count, int64_t out_at) {
  const Vec zero = splat(0.0f), one = splat(1.0f), ln2 = splat(kLn2);
  const Vec t = lane_numbers() + splat(static_cast<float>(t_first + lane));
  const Vec begin =
      job.sliding_window > 0 ? vmax(t - splat(static_cast<float>(job.sliding_window - 1)), zero) : zero;
  const Vec num_sink = splat(static_cast<float>(job.num_sink));
  const Vec num_rest = t + one - vmax(begin, num_sink);  // visible keys that are no sinks; <= 0: none
  const VecInt has_rest = num_rest > zero;
  const VecInt has_sink = vmin(num_sink, t + one) > begin;

  const Vec m1 = select(has_rest, load(rest.m + lane), splat(kMasked));
  const Vec m0 = select(has_sink, load(sink.m + lane), splat(kMasked));
  const Vec m = vmax(m0, m1);
  const Vec shift0 = m - m0, shift1 = m - m1;
  const Vec c0 = select(has_sink, exp2_nonpositive(-shift0), zero);
  const Vec c1 = select(has_rest, exp2_nonpositive(-shift1), zero);
  const Vec l0 = load(sink.l + lane), l1 = load(rest.l + lane);
  const Vec l = fma(c0, l0, c1 * l1);
  const Vec inverse = one / l;
  const Vec ln_l = log_positive(l);
  const Vec safe_l1 = select(has_rest, l1, one);
  const Vec ln_l1 = log_positive(safe_l1);

  auto put = [&](Statistic which, Vec value) {
    if (job.out[which] == nullptr) return;
    float* out = job.out[which] + out_at + lane;
    if (count >= kLanes) return store(out, value);
    for (int64_t i = 0; i < count; ++i) out[i] = value[i];
  };
  put(kLse, fma(m, ln2, ln_l));
  put(kLseNs, select(has_rest, fma(m1, ln2, ln_l1), splat(-__builtin_inff())));
  if (job.out[kEntropy] != nullptr) {
    const Vec v0 = select(has_sink, c0 * fma(shift0, l0, load(sink.v + lane)), zero);
    const Vec v1 = select(has_rest, c1 * fma(shift1, l1, load(rest.v + lane)), zero);
    put(kEntropy, fma((v0 + v1) * inverse, ln2, ln_l));
  }
  if (job.out[kNormEntropy] != nullptr) {
    const VecInt several = num_rest > splat(1.5f);
    const Vec nats = fma(load(rest.v + lane) / safe_l1, ln2, ln_l1);
    put(kNormEntropy, select(several, nats / log_positive(select(several, num_rest, splat(2.0f))), zero));
  }
  put(kDistance, fma(c0, load(sink.g + lane), c1 * load(rest.g + lane)) * inverse);
  put(kDistanceNs, select(has_rest, load(rest.g + lane) / safe_l1, zero));
  put(kWaad, fma(c0, load(sink.w + lane), c1 * load(rest.w + lane)) * inverse);
  put(kSinkMass, c0 * l0 * inverse);
}

// One panel: up to kPanel consecutive rows of one query head.
struct Panel {
  float* query;  // [D][kPanel]
  Sums* sink;
  Sums* rest;
  int64_t out_row;
  int64_t t_first;
  int64_t count;
};

template <class W>
static void add_keys(const RowStatsJob& job, const Product& product, const Panel& panel, Sums& sums,
                     const KeyRows& keys, int64_t s, int64_t s_end, float* scores) {
  const int64_t t_first = panel.t_first, t_last = t_first + panel.count - 1, window = job.sliding_window;
  int64_t from = s;
  if (window > 0) from = max_of(from, t_first - window + 1);
  const int64_t count = min_of(s_end, t_last + 1) - from;
  if (count <= 0) return;
  multiply(product, panel.query, keys, from - s, count, scores);
  const bool masked = from + count - 1 > t_first || (window > 0 && t_first + kPanel - 1 - from >= window);
  if (masked) mask_tile(scores, from, count, t_first, window);
  const bool near = masked || (W::w && t_first - (from + count - 1) < job.waad_window);
  const Vec t = lane_numbers() + splat(static_cast<float>(t_first));
  for (int half = 0; half < 2; ++half) {
    const Vec rows = half == 0 ? t : t + splat(static_cast<float>(kLanes));
    if (near) {
      add_tile<W, true>(sums, half * kLanes, scores, from, count, rows, job);
    } else {
      add_tile<W, false>(sums, half * kLanes, scores, from, count, rows, job);
    }
  }
}

PAN_INLINE int64_t panels_per_head(int64_t slots) { return slots >= 4 ? 1 : (slots >= 2 ? 2 : 4); }
static int64_t row_stats_rows(int64_t slots) { return panels_per_head(slots) * kPanel; }

static size_t row_stats_scratch(const RowStatsJob& job) {
  const int64_t panels = panels_per_head(job.max_slots) * job.max_slots;
  const int64_t floats = panels * job.heads.head_size * kPanel + kKeyTile * (job.heads.head_size + kPanel);
  return static_cast<size_t>(floats) * sizeof(float) +
         static_cast<size_t>(panels) * (2 * sizeof(Sums) + sizeof(Panel));
}

template <class W>
static void run_row_stats(const RowStatsJob& job, const RowsTask& task, void* scratch) {
  const Heads& h = job.heads;
  const Product product = product_of(h.type, h.head_size, h.scale_log2);
  char* memory = static_cast<char*>(scratch);
  auto take = [&](int64_t bytes) {
    char* at = memory;
    memory += bytes;
    return at;
  };
  const int64_t max_panels = panels_per_head(job.max_slots) * job.max_slots;
  Sums* sums = reinterpret_cast<Sums*>(take(max_panels * 2 * static_cast<int64_t>(sizeof(Sums))));
  float* scores = reinterpret_cast<float*>(take(kKeyTile * kPanel * 4));
  float* queries = reinterpret_cast<float*>(take(max_panels * h.head_size * kPanel * 4));
  float* key_buffer = reinterpret_cast<float*>(take(kKeyTile * h.head_size * 4));
  Panel* panels = reinterpret_cast<Panel*>(take(max_panels * static_cast<int64_t>(sizeof(Panel))));

  const int64_t key_head = job.slots[task.slot_begin].head / h.group;
  int64_t num_panels = 0;
  for (int64_t t = task.t_begin; t < task.t_end; t += kPanel) {
    for (int64_t i = task.slot_begin; i < task.slot_end; ++i) {
      const HeadSlot& slot = job.slots[i];
      const int64_t count = min_of(kPanel, task.t_end - t), p = num_panels++;
      panels[p] = {
          queries + p * h.head_size * kPanel, sums + 2 * p, sums + 2 * p + 1, slot.out_row, t, count};
      clear(*panels[p].sink);
      clear(*panels[p].rest);
      pack_panel(product, row_of(h.q, h.type, task.sequence_begin + t, slot.head), h.q.stride_token, count,
                 panels[p].query);
    }
  }
  auto add = [&](int64_t s, int64_t s_end, bool sink) {
    const KeyRows keys = key_rows(product, row_of(h.k, h.type, task.sequence_begin + s, key_head),
                                  h.k.stride_token, s_end - s, key_buffer);
    for (int64_t p = 0; p < num_panels; ++p) {
      add_keys<W>(job, product, panels[p], sink ? *panels[p].sink : *panels[p].rest, keys, s, s_end, scores);
    }
  };
  // Tiles start at multiples of kKeyTile from the first key of their set, so a row's result does not depend
  // on the task.
  const int64_t first = job.sliding_window > 0 ? max_of(0, task.t_begin - job.sliding_window + 1) : 0;
  const int64_t sink_end = min_of(job.num_sink, task.t_end);
  for (int64_t s = first / kKeyTile * kKeyTile; s < sink_end; s += kKeyTile) {
    add(s, min_of(s + kKeyTile, sink_end), true);
  }
  const int64_t skip = max_of(0, first - job.num_sink) / kKeyTile * kKeyTile;
  for (int64_t s = job.num_sink + skip; s < task.t_end; s += kKeyTile)
    add(s, min_of(s + kKeyTile, task.t_end), false);

  for (int64_t p = 0; p < num_panels; ++p) {
    const Panel& panel = panels[p];
    const int64_t at = panel.out_row * job.num_tokens + task.sequence_begin + panel.t_first;
    for (int lane = 0; lane < panel.count; lane += kLanes) {
      finish(job, *panel.sink, *panel.rest, lane, panel.t_first, panel.count - lane, at);
    }
  }
}

static void row_stats(const RowStatsJob& job, const RowsTask& task, void* scratch) {
  const bool v = job.out[kEntropy] != nullptr || job.out[kNormEntropy] != nullptr;
  const bool g = job.out[kDistance] != nullptr || job.out[kDistanceNs] != nullptr;
  const bool w = job.out[kWaad] != nullptr;
  switch (4 * v + 2 * g + w) {
    case 0:
      return run_row_stats<Wanted<false, false, false>>(job, task, scratch);
    case 1:
      return run_row_stats<Wanted<false, false, true>>(job, task, scratch);
    case 2:
      return run_row_stats<Wanted<false, true, false>>(job, task, scratch);
    case 3:
      return run_row_stats<Wanted<false, true, true>>(job, task, scratch);
    case 4:
      return run_row_stats<Wanted<true, false, false>>(job, task, scratch);
    case 5:
      return run_row_stats<Wanted<true, false, true>>(job, task, scratch);
    case 6:
      return run_row_stats<Wanted<true, true, false>>(job, task, scratch);
    default:
      return run_row_stats<Wanted<true, true, true>>(job, task, scratch);
  }
}

}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
