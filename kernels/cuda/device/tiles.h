// Tiles of rows in shared memory and their products, by fragments: warp w of a block holds rows
// [16 kM w, 16 kM (w + 1)) of the left tile against all keys of the right one, and a thread the elements
//   acc[m][n][2 half + e]: row 16 m + 8 half + lane / 4 of the warp, key 8 n + 2 (lane % 4) + e.
// 16-bit types go through tensor cores, float32 through plain multiplications in the same layout (no TF32).
#pragma once

#include "intrinsics.h"

namespace pan::kernels::device {

PAN_DEVICE int quad_row() { return lane_index() / 4; }
PAN_DEVICE int quad_column() { return lane_index() % 4; }

template <class T>
PAN_DEVICE const T* row_at(const Packed& x, int64_t token, int head) {
  return static_cast<const T*>(x.data) + token * x.stride_token + head * x.stride_head;
}

// How the threads of a block share the copies of a tile: a thread keeps its 16 bytes of every kStep-th row.
// Where a row's chunks do not divide the block, some threads copy nothing.
template <class T, int kD>
struct CopyPlan {
  static constexpr int kChunk = 16 / static_cast<int>(sizeof(T)), kChunks = kD / kChunk;
  static constexpr int kStep = kThreads / kChunks;
  static constexpr bool kAllCopy = kStep * kChunks == kThreads;
};

// Starts copying kRows rows; row_of(r) is the row's address, or null for zeros. Elements from head_size on
// are zeros. The caller commits, waits, and puts a barrier before the tile is read.
template <class T, int kD, int kRows, class RowOf>
PAN_DEVICE void load_tile(Shared<T> tile, int head_size, const void* any_address, RowOf row_of) {
  using Plan = CopyPlan<T, kD>;
  const int row = thread_index() / Plan::kChunks, at = thread_index() % Plan::kChunks * Plan::kChunk;
  if (!Plan::kAllCopy && row >= Plan::kStep) return;
  PAN_NO_UNROLL  // nothing here is waited for, and row_of may need many registers
      for (int i = 0; i < kRows; i += Plan::kStep) {
    if (kRows % Plan::kStep != 0 && row + i >= kRows) break;
    const T* from = row_of(row + i);
    const bool valid = from != nullptr && at < head_size;
    copy_async(tile + ((row + i) * tile_stride<T, kD>() + at),
               valid ? from + at : static_cast<const T*>(any_address), valid);
  }
}

// The same for rows that follow one another: a thread's address moves on from tile to tile.
template <class T, int kD, int kRows>
struct RowStream {
  using Plan = CopyPlan<T, kD>;
  const T* next;   // this thread's 16 bytes of the next tile's first row it copies
  int64_t stride;  // of a row

  PAN_DEVICE RowStream(const T* first_row, int64_t row_stride)
      : next(first_row + thread_index() / Plan::kChunks * row_stride +
             thread_index() % Plan::kChunks * Plan::kChunk),
        stride(row_stride) {}

  // The next kRows rows, those from `count` on as zeros.
  PAN_DEVICE void load(Shared<T> tile, int count, int head_size) {
    const int row = thread_index() / Plan::kChunks, at = thread_index() % Plan::kChunks * Plan::kChunk;
    const T* from = next;
    next += kRows * stride;
    if (!Plan::kAllCopy && row >= Plan::kStep) return;
    const int last = at < head_size ? count - row : 0;
    const Shared<T> to = tile + (row * tile_stride<T, kD>() + at);
    PAN_UNROLL
    for (int i = 0; i < kRows; i += Plan::kStep) {
      if (kRows % Plan::kStep != 0 && row + i >= kRows) break;
      copy_async(to + i * tile_stride<T, kD>(), from, i < last);  // what is not valid is not read
      from += Plan::kStep * stride;
    }
  }
};

template <int kM, int kN>
PAN_DEVICE void clear(float (&acc)[kM][kN][4]) {
  PAN_UNROLL
  for (int m = 0; m < kM; ++m) {
    PAN_UNROLL
    for (int n = 0; n < kN; ++n) {
      PAN_UNROLL
      for (int i = 0; i < 4; ++i) acc[m][n][i] = 0.0f;
    }
  }
}

// The left fragment of depth [16 step, 16 step + 16), `rows`: the fragment's first row in its tile.
template <class T, int kD>
PAN_DEVICE void load_left(uint32_t (&a)[4], Shared<T> rows, int step) {
  const int lane = lane_index();
  load_matrix_x4(a, rows + (lane % 16 * tile_stride<T, kD>() + step * 16 + lane / 16 * 8));
}

// The left side of a warp, kept in registers where it is small enough, else read again for every product.
template <class T, int kD, int kM>
struct Left {
  static constexpr bool kKept = sizeof(T) == 2 && kD <= 64;
  Shared<T> rows;  // of the warp
  uint32_t kept[kKept ? kD / 16 : 1][kKept ? kM : 1][4];
};

// From a tile that has arrived.
template <class T, int kD, int kM>
PAN_DEVICE Left<T, kD, kM> left_of(Shared<T> tile) {
  Left<T, kD, kM> left{tile + warp_index() * 16 * kM * tile_stride<T, kD>(), {}};
  if constexpr (Left<T, kD, kM>::kKept) {
    PAN_UNROLL
    for (int step = 0; step < kD / 16; ++step) {
      PAN_UNROLL
      for (int m = 0; m < kM; ++m)
        load_left<T, kD>(left.kept[step][m], left.rows + m * 16 * tile_stride<T, kD>(), step);
    }
  }
  return left;
}

// acc = left . right^T for kN fragments of 8 keys.
template <class T, int kD, int kM, int kN>
PAN_DEVICE void multiply(float (&acc)[kM][kN][4], const Left<T, kD, kM>& left, Shared<T> right) {
  constexpr int kStride = tile_stride<T, kD>();
  if constexpr (sizeof(T) == 2) {
    const int lane = lane_index();
    const Shared<T> keys = right + ((lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8);
    PAN_UNROLL
    for (int step = 0; step < kD / 16; ++step) {
      uint32_t a[kM][4];
      PAN_UNROLL
      for (int m = 0; m < kM; ++m) {
        if constexpr (Left<T, kD, kM>::kKept) {
          PAN_UNROLL
          for (int i = 0; i < 4; ++i) a[m][i] = left.kept[step][m][i];
        } else {
          load_left<T, kD>(a[m], left.rows + m * 16 * kStride, step);
        }
      }
      PAN_UNROLL
      for (int n = 0; n < kN; n += 2) {
        uint32_t b[4];
        load_matrix_x4(b, keys + (n * 8 * kStride + step * 16));
        PAN_UNROLL
        for (int m = 0; m < kM; ++m) {
          if (step == 0) {
            mma_first(T(), acc[m][n], a[m], b[0], b[1]);
            mma_first(T(), acc[m][n + 1], a[m], b[2], b[3]);
          } else {
            mma(T(), acc[m][n], a[m], b[0], b[1]);
            mma(T(), acc[m][n + 1], a[m], b[2], b[3]);
          }
        }
      }
    }
  } else {
    clear(acc);
    const Shared<T> rows = left.rows + quad_row() * kStride;
    const Shared<T> keys = right + 2 * quad_column() * kStride;
    PAN_NO_UNROLL
    for (int d = 0; d < kD; d += 4) {
      Vec4 a[kM][2];
      PAN_UNROLL
      for (int m = 0; m < kM; ++m) {
        a[m][0] = load_as<Vec4>(rows + (m * 16 * kStride + d));
        a[m][1] = load_as<Vec4>(rows + ((m * 16 + 8) * kStride + d));
      }
      PAN_UNROLL
      for (int n = 0; n < kN; ++n) {
        PAN_UNROLL
        for (int e = 0; e < 2; ++e) {
          const Vec4 b = load_as<Vec4>(keys + ((n * 8 + e) * kStride + d));
          PAN_UNROLL
          for (int m = 0; m < kM; ++m) {
            PAN_UNROLL
            for (int half = 0; half < 2; ++half) {
              PAN_UNROLL
              for (int i = 0; i < 4; ++i)
                acc[m][n][2 * half + e] = mul_add(a[m][half].v[i], b.v[i], acc[m][n][2 * half + e]);
            }
          }
        }
      }
    }
  }
}

constexpr float kNoScore = -1e30f;  // exp2 of it is 0

// The sum over the four lanes that share a row.
PAN_DEVICE float quad_sum(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}

}  // namespace pan::kernels::device
