// The body of simt_launch.h for one element type.
#include "kernels/cuda/device/anchor.h"
#include "kernels/cuda/device/band.h"
#include "kernels/cuda/device/decode.h"
#include "kernels/cuda/device/fai.h"
#include "kernels/cuda/device/row_stats.h"
#include "kernels/cuda/element_type.h"
#include "kernels/simt_launch.h"
#include "support/simt.h"

namespace pan::kernels::testing {

template <class T>
void Emulated<T>::row_stats(const device::RowStatsJob& job, int num_tasks) {
  cuda::with_head_size(job.heads.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    const simt::Launch launch{.grid = {num_tasks, 1, 1},
                              .threads = device::kThreads,
                              .shared_bytes = device::row_stats_shared_bytes<T, kD>()};
    cuda::with_wanted(device::wanted_of(job), [&](auto wanted) {
      simt::launch(launch, [&] { device::row_stats_block<T, kD, decltype(wanted)::value>(job); });
    });
  });
}

template <class T>
void Emulated<T>::band(const device::BandJob& job, int num_tasks) {
  cuda::with_head_size(job.heads.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    simt::launch({.grid = {num_tasks, device::band_key_tiles(job.lo, job.hi), 1},
                  .threads = device::kThreads,
                  .shared_bytes = device::band_shared_bytes<T, kD>()},
                 [&] { device::band_block<T, kD>(job); });
  });
}

template <class T>
void Emulated<T>::fai(const device::FaiJob& job, int num_tasks, int num_heads) {
  cuda::with_head_size(job.heads.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    simt::launch({.grid = {num_tasks, num_heads, 1},
                  .threads = device::kThreads,
                  .shared_bytes = device::fai_shared_bytes<T, kD>()},
                 [&] { device::fai_block<T, kD>(job); });
  });
}

template <class T>
void Emulated<T>::anchor(const device::AnchorJob& job, int num_tasks, int num_heads) {
  cuda::with_head_size(job.heads.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    simt::launch({.grid = {num_tasks, num_heads, 1},
                  .threads = device::kThreads,
                  .shared_bytes = device::anchor_shared_bytes<T, kD>()},
                 [&] { device::anchor_block<T, kD>(job); });
  });
}

template <class T>
void Emulated<T>::decode(const device::DecodeJob& job, int num_rows) {
  cuda::with_head_size(job.head_size, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    cuda::with_decode_heads(job.group, [&](auto heads) {
      constexpr int kG = decltype(heads)::value;
      const int pieces = device::decode_head_pieces(job.group);
      simt::launch({.grid = {job.num_splits, job.num_heads / job.group * pieces, num_rows},
                    .threads = device::kThreads,
                    .shared_bytes = device::decode_shared_bytes<T, kD, kG>()},
                   [&] { device::decode_block<T, kD, kG>(job); });
    });
  });
  if (job.num_splits > 1) {
    simt::launch({.grid = {job.num_heads, num_rows, 1}, .threads = device::kThreads},
                 [&] { device::decode_merge_block<T>(job); });
  }
}

}  // namespace pan::kernels::testing
