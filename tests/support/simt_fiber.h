// A function with a stack of its own that can be left and entered again. One operating system thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace pan::simt {

class Fiber {
 public:
  Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes the next enter() start `body`, which must not throw. What the fiber was in the middle of is
  // dropped.
  void start(const std::function<void()>* body);
  void enter();  // from outside: runs it until it leaves or ends
  void leave();  // from inside

 private:
  static void run();
  void switch_in();
  void switch_out(bool for_good);

  static constexpr size_t kStackBytes = 256 << 10;  // pages are taken when touched
  std::unique_ptr<char[]> stack_;
  const std::function<void()>* body_ = nullptr;  // null: not started, or ended
#if defined(__x86_64__)
  void* inside_ = nullptr;
  void* outside_ = nullptr;
#else
  ucontext_t inside_, outside_;
#endif
  // For the address sanitizer.
  void* fake_outside_ = nullptr;
  void* fake_inside_ = nullptr;
  const void* outside_stack_ = nullptr;
  size_t outside_size_ = 0;
};

}  // namespace pan::simt
