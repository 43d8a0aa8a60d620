#include "metrics/console.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "core/log.h"

namespace pan::metrics {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(Console, IterationLineHasAllParts) {
  EXPECT_EQ(
      iteration_line({.iteration = 3, .total = 100, .eta_s = 5400}, {{"reward/total/mean", 0.61},
                                                                     {"critic/score/mean", 0.55},
                                                                     {"rhythm/paid/mean", 0.06},
                                                                     {"reward/accuracy", 0.55},
                                                                     {"response_length/mean", 182.4},
                                                                     {"response_length/clip_ratio", 0.031},
                                                                     {"actor/reward_kl_penalty", 0.00123},
                                                                     {"actor/pg_clipfrac", 0.0124},
                                                                     {"critic/vf_loss", 0.0213},
                                                                     {"critic/vf_explained_var", 0.43},
                                                                     {"timing_s/gen", 12.2},
                                                                     {"timing_s/score", 4.06},
                                                                     {"timing_s/update", 80},
                                                                     {"perf/throughput", 812.3}}),
      "iteration 3/100 | reward 0.61 (task 0.55, rhythm +0.060) | accuracy 55 % | length 182 (3.1 % cut) | "
      "KL 0.0012 | "
      "clip 1.2 % | value loss 0.021 (explained 0.43) | sample 12 s, score 4.1 s, update 1 min 20 s | 812 "
      "token/s | "
      "1 h 30 min left");
}

TEST(Console, AbsentFiguresAreLeftOutAndBrokenOnesShown) {
  EXPECT_EQ(iteration_line({.iteration = 1}, {}), "iteration 1");
  EXPECT_EQ(iteration_line({.iteration = 1}, {{"critic/score/mean", 1.0}, {"rhythm/paid/mean", -0.25}}),
            "iteration 1 | reward 0.75 (task 1.00, rhythm -0.25)");
  EXPECT_EQ(iteration_line({.iteration = 1}, {{"critic/vf_loss", std::nan("")}}),
            "iteration 1 | value loss nan");
}

TEST(Console, Durations) {
  EXPECT_EQ(duration_text(0), "0.0 s");
  EXPECT_EQ(duration_text(9.94), "9.9 s");
  EXPECT_EQ(duration_text(9.96), "10 s");
  EXPECT_EQ(duration_text(59.7), "1 min 00 s");
  EXPECT_EQ(duration_text(245), "4 min 05 s");
  EXPECT_EQ(duration_text(3600), "1 h 00 min");
  EXPECT_EQ(duration_text(183600), "2 d 3 h");
  EXPECT_EQ(duration_text(std::nan("")), "?");
  EXPECT_EQ(duration_text(-1), "?");
}

// A terminal that keeps what one would see on its last line.
struct FakeTerminal {
  double now = 0;
  std::string bytes;
  std::vector<std::string> lines;
  int width = 100;

  Terminal get(bool tty) {
    Terminal t;
    t.is_tty = tty;
    t.write = [this](const std::string& b) { bytes += b; };
    t.line = [this](const std::string& l) { lines.push_back(l); };
    t.now_s = [this] { return now; };
    t.columns = [this] { return width; };
    return t;
  }
  std::string visible() const {
    const size_t clear = bytes.rfind("\r\x1b[K");
    return clear == std::string::npos ? bytes : bytes.substr(clear + 4);
  }
};

TEST(Progress, BarShowsShareTimeAndNoteAndClearsItself) {
  FakeTerminal t;
  {
    Progress bar("rollout", 8, "seq", t.get(true));
    EXPECT_THAT(t.visible(), HasSubstr("rollout [........................] 0/8 seq"));
    t.now = 10;
    bar.update(2, "812 token/s");
    EXPECT_EQ(t.visible(), "rollout [######..................] 2/8 seq, 30 s left, 812 token/s");
    t.now = 40;
    bar.update(8);
    EXPECT_EQ(t.visible(), "rollout [########################] 8/8 seq");
  }
  EXPECT_EQ(t.visible(), "");
  EXPECT_TRUE(t.lines.empty());
}

TEST(Progress, DrawsAtMostTenTimesASecond) {
  FakeTerminal t;
  Progress bar("score", 1000, "seq", t.get(true));
  const size_t before = t.bytes.size();
  for (int i = 0; i < 1000; ++i) {
    t.now = i * 0.0005;  // half a second in all
    bar.update(i);
  }
  const auto drawn = std::count(t.bytes.begin() + static_cast<std::ptrdiff_t>(before), t.bytes.end(), '\r');
  EXPECT_GE(drawn, 4);
  EXPECT_LE(drawn, 5);
}

TEST(Progress, NeverWrapsALine) {
  FakeTerminal t;
  t.width = 40;
  Progress bar("a very long label of some phase", 8, "sequences", t.get(true));
  EXPECT_EQ(t.visible().size(), 39u);
}

TEST(Progress, LogLinesPassThroughTheBar) {
  FakeTerminal t;
  Progress bar("update", 4, "step", t.get(true));
  t.now = 1;
  bar.update(1);
  const size_t before = t.bytes.size();
  ::testing::internal::CaptureStderr();
  core::log_info("a line");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "a line\n");
  const std::string after = t.bytes.substr(before);
  EXPECT_THAT(after, StartsWith("\r\x1b[K\r\x1b[K"));  // cleared for the line, then drawn again
  EXPECT_THAT(after, EndsWith("1/4 step, 3.0 s left"));
}

TEST(Progress, InnerBarReplacesTheOuterUntilItEnds) {
  FakeTerminal t;
  Progress outer("outer", 4, "x", t.get(true));
  {
    Progress inner("inner", 4, "x", t.get(true));
    EXPECT_THAT(t.visible(), StartsWith("inner"));
    t.now = 1;
    outer.update(2);  // stays hidden
    EXPECT_THAT(t.visible(), StartsWith("inner"));
  }
  EXPECT_THAT(t.visible(), HasSubstr("outer [############............] 2/4"));
}

TEST(Progress, HooksAreGoneWithTheLastBar) {
  FakeTerminal t;
  { Progress bar("update", 4, "step", t.get(true)); }
  const size_t before = t.bytes.size();
  ::testing::internal::CaptureStderr();
  core::log_info("a line");
  ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(t.bytes.size(), before);
}

TEST(Progress, PlainLinesEveryHalfMinuteWithoutATerminal) {
  FakeTerminal t;
  Progress bar("rollout", 100, "seq", t.get(false));
  for (int second = 0; second <= 95; ++second) {
    t.now = second;
    bar.update(second);
  }
  ASSERT_EQ(t.lines.size(), 3u);
  EXPECT_EQ(t.lines[0], "rollout: 30/100 seq, 1 min 10 s left");
  EXPECT_EQ(t.bytes, "");
}

TEST(Progress, LogLinesFromOtherThreadsDoNotDeadlock) {
  FakeTerminal t;
  ::testing::internal::CaptureStderr();
  {
    Progress bar("update", 4, "step", t.get(true));
    std::thread other([] {
      for (int i = 0; i < 200; ++i) core::log_info("x");
    });
    for (int i = 0; i < 200; ++i) {
      t.now += 1;
      bar.update(i % 4);
    }
    other.join();
  }
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), Not(HasSubstr("#")));
}

}  // namespace
}  // namespace pan::metrics
