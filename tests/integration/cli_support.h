// Driving the program from a test: a tiny model, its configuration, runs of the binary.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "support/support.h"

namespace pan::testing {

using Words = std::vector<std::string>;

struct Result {
  int code = -1;  // -1 = killed by a signal
  std::string out, err;
};

// A program that runs while the test looks at it.
class Running {
 public:
  Running(const Words& words, const std::string& out, const std::string& err);
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  // Waits until its stderr holds `text`. False: it ended without, or a minute went by.
  bool says(const std::string& text);
  void signal(int number) const;
  Result wait();

 private:
  bool ended();
  pid_t pid_ = -1;
  int status_ = 0;
  bool reaped_ = false;
  std::string out_, err_;
};

class Cli : public ::testing::Test {
 protected:
  Cli();

  std::string model() const { return folder_ / "model"; }
  std::string path(const std::string& name) const { return folder_ / name; }

  Result pan(const Words& words) const;
  // The same behind a piece of shell, such as a limit.
  Result pan_behind(const std::string& shell, const Words& words) const;
  // The tiny configuration as a file.
  std::string write_config(const Words& overrides = {"train.iterations=1", "eval.every=0"}) const;
  Result train(const Words& more) const;

  TempFolder folder_;
};

// One error line, at the end, that holds every part.
void expect_error(const Result& r, int code, const Words& parts);
void replace_in(const std::string& file, const std::string& from, const std::string& to);

}  // namespace pan::testing
