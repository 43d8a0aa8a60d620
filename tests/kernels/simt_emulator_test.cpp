// The emulation itself: what it computes, and that every check of it fires.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/device/intrinsics.h"
#include "support/simt.h"

namespace pan::kernels::device {
namespace {

using ::testing::HasSubstr;

// What launch() has to say about a kernel of `threads` threads with 256 bytes of shared memory.
std::string error_of(int threads, const std::function<void()>& kernel) {
  try {
    simt::launch({.grid = {}, .threads = threads, .shared_bytes = 256}, kernel);
  } catch (const simt::Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Simt, RunsEveryThreadOfEveryBlock) {
  std::vector<int> seen(2 * 3 * 2 * 64, 0);
  simt::launch({.grid = {2, 3, 2}, .threads = 64, .shared_bytes = 0}, [&] {
    ++seen[static_cast<size_t>(((block_z() * 3 + block_y()) * 2 + block_x()) * 64 + thread_index())];
  });
  EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
}

TEST(Simt, BarrierMakesWritesVisible) {
  std::vector<float> out(64);
  simt::launch({.grid = {}, .threads = 64, .shared_bytes = 256}, [&] {
    const Shared<float> x = shared_at<float>(0);
    x[thread_index()] = static_cast<float>(thread_index());
    sync_block();
    out[static_cast<size_t>(thread_index())] = x[63 - thread_index()];
  });
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(out[i], 63.0f - static_cast<float>(i));
}

TEST(Simt, WarpBarrierMakesWritesVisibleInsideAWarpOnly) {
  auto neighbour = [](int distance) {
    return error_of(64, [=] {
      const Shared<float> x = shared_at<float>(0);
      x[thread_index()] = 1.0f;
      sync_warp();
      if (thread_index() >= distance / 32 * 32)
        static_cast<void>(static_cast<float>(x[thread_index() ^ distance]));
    });
  };
  EXPECT_EQ(neighbour(1), "no error");
  EXPECT_THAT(neighbour(32), HasSubstr("race: read"));
}

TEST(Simt, ShuffleAndVote) {
  std::vector<float> shuffled(32);
  std::vector<uint32_t> lanes(32);
  simt::launch({.grid = {}, .threads = 32, .shared_bytes = 0}, [&] {
    const size_t i = static_cast<size_t>(thread_index());
    shuffled[i] = shuffle_xor(static_cast<float>(i), 5);
    lanes[i] = emulated::vote(kFullWarp, i % 3 == 0);
    EXPECT_TRUE(vote_any(i == 7));
    EXPECT_FALSE(vote_any(false));
    EXPECT_TRUE(vote_all(true));
    EXPECT_FALSE(vote_all(i != 7));
  });
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(shuffled[i], static_cast<float>(i ^ 5));
    EXPECT_EQ(lanes[i], 0x49249249u);
  }
}

TEST(Simt, HalvesOfAWarpMayShuffleApart) {
  EXPECT_EQ(error_of(32,
                     [] {
                       const uint32_t mask = thread_index() < 16 ? 0xffffu : 0xffff0000u;
                       const uint32_t got =
                           emulated::shuffle_xor(mask, static_cast<uint32_t>(thread_index()), 1);
                       EXPECT_EQ(got, static_cast<uint32_t>(thread_index() ^ 1));
                     }),
            "no error");
}

TEST(SimtCheck, SharedMemoryBounds) {
  EXPECT_THAT(error_of(1, [] { shared_at<float>(0)[64] = 1.0f; }),
              HasSubstr("out of bounds: write at byte 256"));
  EXPECT_THAT(error_of(1, [] { static_cast<void>(static_cast<float>(shared_at<float>(0)[-1])); }),
              HasSubstr("out of bounds: read"));
  EXPECT_THAT(error_of(1, [] { shared_at<float>(2)[0] = 1.0f; }), HasSubstr("misaligned: write"));
  EXPECT_THAT(error_of(1, [] { static_cast<void>(load_as<Vec4>(shared_at<float>(8))); }),
              HasSubstr("misaligned: read"));
}

TEST(SimtCheck, UninitialisedRead) {
  EXPECT_THAT(error_of(1,
                       [] {
                         shared_at<float>(0)[0] = 1.0f;
                         static_cast<void>(static_cast<float>(shared_at<float>(0)[1]));
                       }),
              HasSubstr("read before it was written at byte 4"));
}

TEST(SimtCheck, SharedMemoryDoesNotOutliveItsBlock) {
  EXPECT_EQ(error_of(1, [] { shared_at<float>(0)[0] = 1.0f; }), "no error");
  EXPECT_THAT(error_of(1, [] { static_cast<void>(static_cast<float>(shared_at<float>(0)[0])); }),
              HasSubstr("read before it was written"));
}

TEST(SimtCheck, Races) {
  EXPECT_THAT(error_of(2, [] { shared_at<float>(0)[0] = 1.0f; }), HasSubstr("race: write"));
  EXPECT_THAT(error_of(64,
                       [] {
                         const Shared<float> x = shared_at<float>(0);
                         if (thread_index() == 0) x[0] = 1.0f;
                         if (thread_index() == 33) static_cast<void>(static_cast<float>(x[0]));
                       }),
              HasSubstr("race: read without a barrier after the write of thread 0"));
  EXPECT_THAT(error_of(64,
                       [] {
                         const Shared<float> x = shared_at<float>(0);
                         if (thread_index() == 0) x[0] = 1.0f;
                         sync_block();
                         if (thread_index() == 1) static_cast<void>(static_cast<float>(x[0]));
                         sync_warp();  // not enough: thread 40 is in another warp
                         if (thread_index() == 40) x[0] = 2.0f;
                       }),
              HasSubstr("race: write without a barrier after a read"));
}

TEST(SimtCheck, BarrierThatAThreadNeverReaches) {
  EXPECT_THAT(
      error_of(64,
               [] {
                 if (thread_index() != 40) sync_block();
               }),
      HasSubstr("deadlock: 63 threads at the block barrier, 0 at warp operations, 1 returned; thread 0 "
                "waits at the block barrier; thread 40 has returned"));
  EXPECT_THAT(error_of(64,
                       [] {
                         if (thread_index() < 32) {
                           sync_block();
                         } else if (thread_index() < 63) {
                           sync_warp();
                         }
                       }),
              HasSubstr("deadlock: 32 threads at the block barrier, 31 at warp operations, 1 returned"));
}

TEST(SimtCheck, DivergedWarp) {
  EXPECT_THAT(error_of(32,
                       [] {
                         if (thread_index() < 16) {
                           shuffle_xor(1.0f, 1);
                         } else {
                           vote_any(true);
                         }
                       }),
              HasSubstr("diverged warp: this lane is at a vote, lane 0 at a shuffle"));
  EXPECT_THAT(error_of(32, [] { emulated::sync_warp(thread_index() == 0 ? 1u | 2u : kFullWarp); }),
              HasSubstr("with another mask"));
}

TEST(SimtCheck, ShuffleMasks) {
  EXPECT_THAT(error_of(32, [] { emulated::shuffle_xor(0xffffu, 0, 1); }), HasSubstr("not in its own mask"));
  EXPECT_THAT(error_of(32,
                       [] {
                         if (thread_index() < 16) emulated::shuffle_xor(0xffffu, 0, 16);
                       }),
              HasSubstr("reads lane 16, which is not in the mask"));
}

TEST(SimtCheck, CopiesAreInvisibleUntilWaitedFor) {
  alignas(16) const float from[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  auto read_after = [&](auto wait) {
    return error_of(1, [&, wait] {
      const Shared<float> x = shared_at<float>(0);
      copy_async(x, from, true);
      commit_copies();
      copy_async(x + 4, from + 4, false);
      commit_copies();
      wait();
      EXPECT_EQ(static_cast<float>(x[3]), 4.0f);
      EXPECT_EQ(static_cast<float>(x[4]), 0.0f);
      wait_copies<0>();
    });
  };
  EXPECT_EQ(read_after([] { wait_copies<0>(); }), "no error");
  EXPECT_THAT(read_after([] {}), HasSubstr("read while an asynchronous copy is on its way at byte 12"));
  EXPECT_THAT(read_after([] { wait_copies<1>(); }),
              HasSubstr("read while an asynchronous copy is on its way at byte 16"));
}

TEST(SimtCheck, CopiesOfOthersNeedABarrier) {
  alignas(16) const float from[4] = {1, 2, 3, 4};
  auto run = [&](bool barrier) {
    return error_of(64, [&] {
      const Shared<float> x = shared_at<float>(0);
      if (thread_index() == 0) copy_async(x, from, true);
      commit_copies();
      wait_copies<0>();
      if (barrier) sync_block();
      static_cast<void>(static_cast<float>(x[0]));
    });
  };
  EXPECT_EQ(run(true), "no error");
  EXPECT_THAT(run(false), HasSubstr("race"));
}

TEST(SimtCheck, MisusedCopies) {
  alignas(16) const float from[8] = {};
  EXPECT_THAT(error_of(1,
                       [&] {
                         copy_async(shared_at<float>(0), from, true);
                         commit_copies();
                       }),
              HasSubstr("never waited for"));
  EXPECT_THAT(error_of(1, [&] { copy_async(shared_at<float>(0), from + 1, true); }),
              HasSubstr("misaligned source"));
  EXPECT_THAT(error_of(1, [&] { copy_async(shared_at<float>(4), from, true); }), HasSubstr("misaligned"));
  EXPECT_THAT(error_of(1, [&] { copy_async(shared_at<float>(256), from, true); }),
              HasSubstr("out of bounds"));
  EXPECT_THAT(error_of(1,
                       [&] {
                         const Shared<float> x = shared_at<float>(0);
                         copy_async(x, from, true);
                         x[0] = 1.0f;
                       }),
              HasSubstr("write while an asynchronous copy is on its way"));
  EXPECT_THAT(error_of(1,
                       [&] {
                         copy_async(shared_at<float>(0), from, true);
                         copy_async(shared_at<float>(0), from, true);
                       }),
              HasSubstr("where another one is on its way"));
  EXPECT_THAT(error_of(64,
                       [&] {
                         const Shared<float> x = shared_at<float>(0);
                         if (thread_index() == 0) x[0] = 1.0f;
                         if (thread_index() == 32) copy_async(x, from, true);
                       }),
              HasSubstr("asynchronous copy without a barrier after the last use"));
}

TEST(SimtCheck, MatrixOperationsTakeAWholeWarp) {
  EXPECT_THAT(error_of(16,
                       [] {
                         float c[4] = {};
                         const uint32_t a[4] = {};
                         mma(Bf16(), c, a, 0, 0);
                       }),
              HasSubstr("deadlock: 0 threads at the block barrier, 16 at warp operations"));
  EXPECT_THAT(error_of(32,
                       [] {
                         uint32_t r[4];
                         load_matrix_x4(r, shared_at<Bf16>(2));
                       }),
              HasSubstr("matrix load: misaligned row"));
}

TEST(Simt, MatrixLoadFollowsItsLayout) {
  std::vector<uint32_t> got(32 * 4);
  simt::launch({.grid = {}, .threads = 32, .shared_bytes = 512}, [&] {
    const Shared<uint16_t> x = shared_at<uint16_t>(0);  // matrix m, row r, column c: 100 m + 10 r + c
    for (int i = 0; i < 8; ++i) {
      x[thread_index() * 8 + i] =
          static_cast<uint16_t>(thread_index() / 8 * 100 + thread_index() % 8 * 10 + i);
    }
    sync_warp();
    uint32_t r[4];
    load_matrix_x4(r, shared_at<Bf16>(static_cast<size_t>(thread_index()) * 16));
    for (size_t m = 0; m < 4; ++m) got[static_cast<size_t>(thread_index()) * 4 + m] = r[m];
  });
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t m = 0; m < 4; ++m) {
      const uint32_t first = 100 * m + 10 * (lane / 4) + 2 * (lane % 4);
      EXPECT_EQ(got[lane * 4 + m], first | (first + 1) << 16);
    }
  }
}

// Small integers, so that every sum is exact: the product by fragments against the definition.
template <class T>
void expect_product(uint16_t (*encode)(float)) {
  std::mt19937 random(7);
  float a[16][16], b[16][8], c[16][8];
  auto draw = [&] { return static_cast<float>(static_cast<int>(random() % 17) - 8); };
  for (auto& row : a)
    for (float& x : row) x = draw();
  for (auto& row : b)
    for (float& x : row) x = draw();
  for (auto& row : c)
    for (float& x : row) x = draw();
  float got[16][8];
  simt::launch({.grid = {}, .threads = 32, .shared_bytes = 0}, [&] {
    const int group = thread_index() / 4, pair = thread_index() % 4 * 2;
    auto two = [&](float low, float high) {
      return static_cast<uint32_t>(encode(low)) | static_cast<uint32_t>(encode(high)) << 16;
    };
    const uint32_t ra[4] = {
        two(a[group][pair], a[group][pair + 1]), two(a[group + 8][pair], a[group + 8][pair + 1]),
        two(a[group][pair + 8], a[group][pair + 9]), two(a[group + 8][pair + 8], a[group + 8][pair + 9])};
    float rc[4] = {c[group][pair], c[group][pair + 1], c[group + 8][pair], c[group + 8][pair + 1]};
    mma(T(), rc, ra, two(b[pair][group], b[pair + 1][group]), two(b[pair + 8][group], b[pair + 9][group]));
    got[group][pair] = rc[0];
    got[group][pair + 1] = rc[1];
    got[group + 8][pair] = rc[2];
    got[group + 8][pair + 1] = rc[3];
  });
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      float sum = c[i][j];
      for (int k = 0; k < 16; ++k) sum += a[i][k] * b[k][j];
      EXPECT_EQ(got[i][j], sum) << i << " " << j;
    }
  }
}

TEST(Simt, MatrixProductFollowsItsLayout) {
  expect_product<Bf16>([](float x) { return static_cast<uint16_t>(float_to_bits(x) >> 16); });
  expect_product<Fp16>(&emulated::float_to_half);
}

TEST(Simt, Conversions) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    ASSERT_EQ(emulated::float_to_half(emulated::half_to_float(static_cast<uint16_t>(bits))), bits);
  }
  EXPECT_EQ(emulated::half_to_float(0x3555), 0x1.554p-2f);
  EXPECT_EQ(emulated::half_to_float(0x0001), 0x1p-24f);
  EXPECT_EQ(emulated::float_to_half(65504.0f), 0x7bff);
  EXPECT_EQ(emulated::float_to_half(65520.0f), 0x7c00);
  EXPECT_EQ(emulated::float_to_half(1.0f + 0x1p-11f), 0x3c00);  // a tie: to even
  EXPECT_EQ(emulated::float_to_half(1.0f + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(emulated::float_to_half(-2.0f), 0xc000);
  auto bf16 = [](float x) {
    Bf16 y;
    from_float(x, y);
    return y.bits;
  };
  EXPECT_EQ(bf16(1.0f), 0x3f80);
  EXPECT_EQ(bf16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(bf16(1.0f + 3 * 0x1p-8f), 0x3f82);
  EXPECT_TRUE(std::isnan(to_float(Bf16{bf16(std::nanf(""))})));
  EXPECT_EQ(mul_up(3.0f, 5.0f), 15.0f);
  EXPECT_GE(static_cast<double>(mul_up(0.1f, 0.3f)), static_cast<double>(0.1f) * static_cast<double>(0.3f));
  EXPECT_GE(static_cast<double>(mul_up(-0.1f, 0.7f)), static_cast<double>(-0.1f) * static_cast<double>(0.7f));
}

TEST(SimtCheck, DeviceCodeOutsideALaunch) { EXPECT_THROW(sync_block(), simt::Error); }

}  // namespace
}  // namespace pan::kernels::device
