// Gradients of log-probability and entropy, a block of the vocabulary at a time. Three products, all by the
// panels of hot_gemm.inl:
//   logits  [v][row] = hidden . weight        lanes are rows, as in the forward pass; turned into their
//   gradient at once, grad_w  [v][c]  += gradient . hidden      lanes are elements of the hidden state, depth
//   is the rows, grad_h  [row][c]+= gradient . weight      lanes are the same, depth is the vocabulary block.
// The gradient is kept in both orders, so that either product reads it along its depth. With native bfloat16
// pairs it is rounded to bfloat16, as a plain bfloat16 backward pass rounds it; sums stay float32.

namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {

static bool backward_is_narrow(Type type, int64_t size) { return product_of(type, size, 1.0f).pairs; }

// A product whose depth is rows or columns of the gradient.
PAN_INLINE Product gradient_product(bool narrow, int64_t depth) {
  return {narrow ? Type::bfloat16 : Type::float32, narrow ? depth + depth % 2 : depth, 1.0f, narrow};
}

// Elements [c, c + kPanel) of `depth` rows become a panel: lanes are elements. What is beyond `size` or the
// depth is 0.
static void pack_elements(const void* from, Type type, int64_t stride, int64_t depth, int64_t c, int64_t size,
                          bool narrow, float* panel) {
  const int64_t count = min_of(kPanel, size - c);
  if (narrow) {
    uint16_t* to = reinterpret_cast<uint16_t*>(panel);
    const uint16_t* rows = static_cast<const uint16_t*>(from) + c;
    for (int64_t d = 0; d < depth + depth % 2; ++d) {
      uint16_t* half = to + d / 2 * 2 * kPanel + d % 2;
      for (int64_t i = 0; i < kPanel; ++i) half[2 * i] = d < depth && i < count ? rows[d * stride + i] : 0;
    }
    return;
  }
  for (int64_t d = 0; d < depth; ++d) {
    widen(advance(from, type, d * stride + c), type, count, panel + d * kPanel);
    for (int64_t i = count; i < kPanel; ++i) panel[d * kPanel + i] = 0.0f;
  }
}

// Panel `task` of the hidden states' elements, depth rows.
static void backward_pack_hidden(const LogprobBackwardJob& job, int64_t task) {
  const LogprobJob& f = job.forward;
  pack_elements(f.hidden, f.type, f.hidden_stride, f.rows, task * kPanel, f.size, job.narrow,
                job.hidden_panels + task * job.hidden_panel_floats);
}

static void backward_pack_weight(const LogprobBackwardJob& job, int64_t task) {
  const LogprobJob& f = job.forward;
  pack_elements(advance(f.weight, f.type, job.v_begin * f.weight_stride), f.type, f.weight_stride,
                job.v_end - job.v_begin, task * kPanel, f.size, job.narrow,
                job.weight_panels + task * job.weight_panel_floats);
}

static size_t backward_scratch(const LogprobBackwardJob& job) {
  return static_cast<size_t>(kKeyTile * (kPanel + job.forward.size)) * sizeof(float);
}

// What the rows of one panel contribute; lanes that are no rows get 0.
struct RowTerms {
  float lse[kPanel], entropy[kPanel], grad_logprob[kPanel], grad_entropy[kPanel];
};

static void tile_gradient(const RowTerms& rows, int64_t count, float* scores) {
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    const Vec lse = load(rows.lse + lane), h = load(rows.entropy + lane), ln2 = splat(kLn2);
    const Vec minus_l = -load(rows.grad_logprob + lane), minus_e = -load(rows.grad_entropy + lane);
    for (int64_t i = 0; i < count; ++i) {
      const Vec x = load(scores + i * kPanel + lane) - lse;  // log2 p
      store(scores + i * kPanel + lane, exp2_nonpositive(x) * fma(minus_e, fma(x, ln2, h), minus_l));
    }
  }
}

// Stores a tile of the gradient, keys i of the block from `at` on, in both orders.
static void store_gradient(const LogprobBackwardJob& job, const float* scores, int64_t at, int64_t count,
                           int64_t row, int64_t num_rows) {
  if (job.narrow) {
    uint16_t* by_key = static_cast<uint16_t*>(job.by_key) + at * job.by_key_stride + row;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t lane = 0; lane < kPanel; ++lane) {
        by_key[i * job.by_key_stride + lane] = float_to_bfloat(scores[i * kPanel + lane]);
      }
    }
    uint16_t* by_row = static_cast<uint16_t*>(job.by_row) + row * job.by_row_stride + at;
    for (int64_t lane = 0; lane < num_rows; ++lane) {
      for (int64_t i = 0; i < count; ++i) {
        by_row[lane * job.by_row_stride + i] = by_key[i * job.by_key_stride + lane];
      }
    }
    return;
  }
  float* by_key = static_cast<float*>(job.by_key) + at * job.by_key_stride + row;
  for (int64_t i = 0; i < count; ++i) {
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      store(by_key + i * job.by_key_stride + lane, load(scores + i * kPanel + lane));
    }
  }
  float* by_row = static_cast<float*>(job.by_row) + row * job.by_row_stride + at;
  for (int64_t lane = 0; lane < num_rows; ++lane) {
    for (int64_t i = 0; i < count; ++i) by_row[lane * job.by_row_stride + i] = scores[i * kPanel + lane];
  }
}

// Tile `task` (kKeyTile columns) of the block: logits of all rows and their gradient.
static void backward_gradient(const LogprobBackwardJob& job, int64_t task, void* scratch) {
  const LogprobJob& f = job.forward;
  float* scores = static_cast<float*>(scratch);
  float* buffer = scores + kKeyTile * kPanel;
  const Product product = product_of(f.type, f.size, f.scale_log2);
  const int64_t at = task * kKeyTile, v = job.v_begin + at, count = min_of(kKeyTile, job.v_end - v);
  const KeyRows keys =
      key_rows(product, advance(f.weight, f.type, v * f.weight_stride), f.weight_stride, count, buffer);
  for (int64_t row = 0; row < f.rows; row += kPanel) {
    const int64_t num_rows = min_of(kPanel, f.rows - row);
    RowTerms terms;
    load_row(job.lse + row, num_rows, kLog2E, terms.lse);
    load_row(job.entropy + row, num_rows, 1.0f, terms.entropy);
    load_row(job.grad_logprob + row, num_rows, 1.0f, terms.grad_logprob);
    load_row(job.grad_entropy + row, num_rows, 1.0f, terms.grad_entropy);
    multiply(product, f.packed + row * f.size, keys, 0, count, scores);
    tile_gradient(terms, count, scores);
    for (int64_t lane = 0; lane < num_rows; ++lane) {
      const int64_t target = f.targets[row + lane] - v;
      if (target >= 0 && target < count) scores[target * kPanel + lane] += terms.grad_logprob[lane];
    }
    store_gradient(job, scores, at, count, row, num_rows);
  }
  // Pairs take an even depth: the column behind the last one.
  if (job.narrow && v + count == job.v_end && (at + count) % 2 == 1) {
    for (int64_t row = 0; row < f.rows; ++row) {
      static_cast<uint16_t*>(job.by_row)[row * job.by_row_stride + at + count] = 0;
    }
  }
}

// to[r][0..count) += the product's rows.
static void add_product(const Product& product, const float* panel, const KeyRows& keys, int64_t begin,
                        int64_t end, int64_t count, float* scores, float* to, int64_t to_stride) {
  for (int64_t r = begin; r < end; r += kKeyTile) {
    const int64_t num_keys = min_of(kKeyTile, end - r);
    multiply(product, panel, keys, r, num_keys, scores);
    for (int64_t i = 0; i < num_keys; ++i) {
      float* row = to + (r + i) * to_stride;
      if (count == kPanel) {
        for (int64_t c = 0; c < kPanel; c += kLanes)
          store(row + c, load(row + c) + load(scores + i * kPanel + c));
      } else {
        for (int64_t c = 0; c < count; ++c) row[c] += scores[i * kPanel + c];
      }
    }
  }
}

// Rows [begin, end) of the block's weights (or of the chunk's hidden states): their gradient at the elements
// of `panel`.
static void backward_weight(const LogprobBackwardJob& job, int64_t panel, int64_t begin, int64_t end,
                            void* scratch) {
  const LogprobJob& f = job.forward;
  const KeyRows keys{job.by_key, job.by_key_stride, job.narrow};
  add_product(gradient_product(job.narrow, f.rows), job.hidden_panels + panel * job.hidden_panel_floats, keys,
              begin, end, min_of(kPanel, f.size - panel * kPanel), static_cast<float*>(scratch),
              job.grad_weight + panel * kPanel, f.size);
}

static void backward_hidden(const LogprobBackwardJob& job, int64_t panel, int64_t begin, int64_t end,
                            void* scratch) {
  const LogprobJob& f = job.forward;
  const KeyRows keys{job.by_row, job.by_row_stride, job.narrow};
  add_product(gradient_product(job.narrow, job.v_end - job.v_begin),
              job.weight_panels + panel * job.weight_panel_floats, keys, begin, end,
              min_of(kPanel, f.size - panel * kPanel), static_cast<float*>(scratch),
              job.grad_hidden + panel * kPanel, f.size);
}

}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
