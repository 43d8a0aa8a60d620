// The one exception type of the project.
//
//   throw core::Error(core::ErrorKind::kData, "unknown architecture")
//       .where(path).pointer("/model_type").expected("llama, qwen2 or qwen3").got("mamba").remedy("use ...");
//   PAN_CHECK(k > 0, kConfig, "top_k must be positive").expected("> 0").got(std::to_string(k));
//
// An error says what happened, where, what was expected, what was found and what to do about it; parts that
// are not set are left out of what().
#pragma once

#include <exception>
#include <string>

namespace pan::core {

// Decides the exit code of the program (see cli). Never renumber.
enum class ErrorKind {
  kUsage = 0,        // command line: exit 2
  kConfig = 1,       // configuration: exit 2
  kData = 2,         // model, tokenizer, data set or checkpoint: exit 3
  kIo = 3,           // disk: exit 4
  kDevice = 4,       // device or memory: exit 5
  kGuard = 5,        // stopped by a guard (non-finite values and the like): exit 6
  kInterrupted = 6,  // by a signal: exit 130
  kInternal = 7,     // a bug of ours: exit 1
};

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string what_happened);

  // Builders; each returns *this so that an error can be written as one expression.
  Error& where(std::string text);    // file, folder or component
  Error& pointer(std::string text);  // JSON pointer, tensor name, line number, ...
  Error& expected(std::string text);
  Error& got(std::string text);
  Error& remedy(std::string text);

  ErrorKind kind() const { return kind_; }
  // "<what happened> (in <where>, at <pointer>): expected <..>, got <..>. <remedy>"
  const char* what() const noexcept override { return text_.c_str(); }

  const std::string& happened() const { return happened_; }
  const std::string& where_text() const { return where_; }
  const std::string& pointer_text() const { return pointer_; }
  const std::string& expected_text() const { return expected_; }
  const std::string& got_text() const { return got_; }
  const std::string& remedy_text() const { return remedy_; }

 private:
  void rebuild();
  ErrorKind kind_;
  std::string happened_, where_, pointer_, expected_, got_, remedy_, text_;
};

namespace internal {
// Lets PAN_CHECK be followed by builder calls and throws at the end of the full expression.
class Thrower {
 public:
  Thrower(ErrorKind kind, std::string what_happened) : error_(kind, std::move(what_happened)) {}
  [[noreturn]] ~Thrower() noexcept(false) { throw error_; }
  Thrower& where(std::string t) {
    error_.where(std::move(t));
    return *this;
  }
  Thrower& pointer(std::string t) {
    error_.pointer(std::move(t));
    return *this;
  }
  Thrower& expected(std::string t) {
    error_.expected(std::move(t));
    return *this;
  }
  Thrower& got(std::string t) {
    error_.got(std::move(t));
    return *this;
  }
  Thrower& remedy(std::string t) {
    error_.remedy(std::move(t));
    return *this;
  }

 private:
  Error error_;
};
}  // namespace internal

}  // namespace pan::core

// Throws pan::core::Error of kind `kind` (a name of ErrorKind, without the scope) unless `condition` holds.
#define PAN_CHECK(condition, kind, message) \
  if (condition) {                          \
  } else                                    \
    ::pan::core::internal::Thrower(::pan::core::ErrorKind::kind, (message))
