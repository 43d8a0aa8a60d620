#include "integration/cli_support.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "config/load.h"
#include "train/tiny_run.h"

namespace pan::testing {
namespace {

std::string quoted(const std::string& word) {
  std::string text = "'";
  for (char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }

}  // namespace

Running::Running(const Words& words, const std::string& out, const std::string& err) : out_(out), err_(err) {
  std::vector<char*> arguments;
  std::string binary = PAN_BINARY;
  arguments.push_back(binary.data());
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  write_text(err_, "");
  pid_ = fork();
  if (pid_ == 0) {
    dup2(open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    dup2(open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    execv(PAN_BINARY, arguments.data());
    _exit(127);
  }
}

Running::~Running() {
  if (ended()) return;
  ::kill(pid_, SIGKILL);
  waitpid(pid_, &status_, 0);
}

bool Running::ended() {
  if (!reaped_) reaped_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return reaped_;
}

bool Running::says(const std::string& text) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::chrono::steady_clock::now() < end) {
    const bool last = ended();
    if (read_text(err_).find(text) != std::string::npos) return true;
    if (last) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

void Running::signal(int number) const { ::kill(pid_, number); }

Result Running::wait() {
  if (!reaped_) waitpid(pid_, &status_, 0);
  reaped_ = true;
  return {code_of(status_), read_text(out_), read_text(err_)};
}

Cli::Cli() { make_tiny_model(model(), 7); }

Result Cli::pan(const Words& words) const { return pan_behind("", words); }

Result Cli::pan_behind(const std::string& shell, const Words& words) const {
  std::string line = shell + quoted(PAN_BINARY);
  for (const std::string& word : words) line += " " + quoted(word);
  line += " > " + quoted(path("stdout")) + " 2> " + quoted(path("stderr"));
  const int status = std::system(line.c_str());
  return {code_of(status), read_text(path("stdout")), read_text(path("stderr"))};
}

std::string Cli::write_config(const Words& overrides) const {
  write_text(path("run.json"), config::resolved(tiny_config(model(), overrides)).dump(2));
  return path("run.json");
}

Result Cli::train(const Words& more) const {
  Words words = {"train", "--config", write_config(), "--run-dir", path("run")};
  words.insert(words.end(), more.begin(), more.end());
  return pan(words);
}

// One error line, at the end, that holds every part.
void expect_error(const Result& r, int code, const Words& parts) {
  EXPECT_EQ(r.code, code) << r.err;
  std::istringstream lines(r.err);
  std::string line, last, error;
  int errors = 0;
  while (std::getline(lines, line)) {
    last = line;
    if (line.rfind("error: ", 0) == 0) ++errors, error = line;
  }
  EXPECT_EQ(errors, 1) << r.err;
  EXPECT_EQ(last, error) << "the error is not the last line: " << r.err;
  for (const std::string& part : parts)
    EXPECT_NE(error.find(part), std::string::npos) << part << " in " << error;
}

void replace_in(const std::string& file, const std::string& from, const std::string& to) {
  std::string text = read_text(file);
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  write_text(file, text.replace(at, from.size(), to));
}

}  // namespace pan::testing
