// The body of simt_launch.h for one element type.
#include <stdexcept>

#include "kernels/cuda/device/anchor.h"
#include "kernels/cuda/device/band.h"
#include "kernels/cuda/device/decode.h"
#include "kernels/cuda/device/fai.h"
#include "kernels/cuda/device/logprob.h"
#include "kernels/cuda/device/row_stats.h"
#include "kernels/simt_launch.h"
#include "support/simt.h"

namespace pan::kernels::testing {
namespace {

template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

// run(Constant<kD>) for the smallest kD that holds the head.
template <class Run>
auto for_head_size(int head_size, Run run) {
  if (head_size <= 32) return run(Constant<32>());
  if (head_size <= 64) return run(Constant<64>());
  if (head_size <= 80) return run(Constant<80>());
  if (head_size <= 96) return run(Constant<96>());
  if (head_size <= 128) return run(Constant<128>());
  if (head_size <= 256) return run(Constant<256>());
  throw std::invalid_argument("head size");
}

}  // namespace

template <class T>
int Emulated<T>::row_stats_positions(int head_size, int group) {
  return for_head_size(head_size, [&](auto d) { return device::row_stats_positions<T, d.value>(group); });
}

template <class T>
void Emulated<T>::row_stats(const device::RowStatsJob& job, int num_tasks, unsigned wanted) {
  for_head_size(job.heads.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    const simt::Launch launch{.grid = {num_tasks, 1, 1},
                              .threads = device::kThreads,
                              .shared_bytes = device::row_stats_shared_bytes<T, kD>()};
    if constexpr (kD == 64) {
      if (wanted == 0) return simt::launch(launch, [&] { device::row_stats_block<T, kD, 0>(job); });
      if (wanted == 1) return simt::launch(launch, [&] { device::row_stats_block<T, kD, 1>(job); });
      if (wanted == 2) return simt::launch(launch, [&] { device::row_stats_block<T, kD, 2>(job); });
      if (wanted == 4) return simt::launch(launch, [&] { device::row_stats_block<T, kD, 4>(job); });
    }
    simt::launch(launch, [&] { device::row_stats_block<T, kD, 7>(job); });
  });
}

template <class T>
void Emulated<T>::band(const device::BandJob& job, int num_tasks) {
  for_head_size(job.heads.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    simt::launch({.grid = {num_tasks, device::band_key_tiles(job.lo, job.hi), 1},
                  .threads = device::kThreads,
                  .shared_bytes = device::band_shared_bytes<T, kD>()},
                 [&] { device::band_block<T, kD>(job); });
  });
}

template <class T>
void Emulated<T>::fai(const device::FaiJob& job, int num_tasks, int num_heads) {
  for_head_size(job.heads.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    simt::launch({.grid = {num_tasks, num_heads, 1},
                  .threads = device::kThreads,
                  .shared_bytes = device::fai_shared_bytes<T, kD>()},
                 [&] { device::fai_block<T, kD>(job); });
  });
}

template <class T>
void Emulated<T>::anchor(const device::AnchorJob& job, int num_tasks, int num_heads) {
  for_head_size(job.heads.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    simt::launch({.grid = {num_tasks, num_heads, 1},
                  .threads = device::kThreads,
                  .shared_bytes = device::anchor_shared_bytes<T, kD>()},
                 [&] { device::anchor_block<T, kD>(job); });
  });
}

template <class T>
void Emulated<T>::decode(const device::DecodeJob& job, int num_rows) {
  for_head_size(job.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    auto run = [&](auto heads) {
      constexpr int kG = decltype(heads)::value;
      const int pieces = device::decode_head_pieces(job.group);
      simt::launch({.grid = {job.num_splits, job.num_heads / job.group * pieces, num_rows},
                    .threads = device::kThreads,
                    .shared_bytes = device::decode_shared_bytes<T, kD, kG>()},
                   [&] { device::decode_block<T, kD, kG>(job); });
    };
    switch (device::decode_heads(job.group)) {
      case 1:
        run(Constant<1>());
        break;
      case 2:
        run(Constant<2>());
        break;
      case 4:
        run(Constant<4>());
        break;
      default:
        run(Constant<8>());
    }
  });
  if (job.num_splits > 1) {
    simt::launch({.grid = {job.num_heads, num_rows, 1}, .threads = device::kThreads},
                 [&] { device::decode_merge_block<T>(job); });
  }
}

template <class T>
void Emulated<T>::logprob_reduce(const device::LogprobReduceJob& job, int rows) {
  simt::launch({.grid = {rows, 1, 1},
                .threads = device::kLogprobThreads,
                .shared_bytes = device::logprob_reduce_shared_bytes()},
               [&] { device::logprob_reduce_block<T>(job); });
}

template <class T>
void Emulated<T>::logprob_gradient(const device::LogprobGradientJob& job, int rows) {
  simt::launch(
      {.grid = {device::logprob_gradient_blocks(job.columns), rows, 1}, .threads = device::kLogprobThreads},
      [&] { device::logprob_gradient_block<T, T>(job); });
}

}  // namespace pan::kernels::testing
