#include "support/simt_fiber.h"

#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves what a call must keep, stores the stack pointer through the first argument, takes the second one.
extern "C" void pan_simt_switch(void** save, void* to);
asm(R"(
.text
.type pan_simt_switch, @function
pan_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size pan_simt_switch, .-pan_simt_switch
)");
#endif

namespace pan::simt {
namespace {
Fiber* entering = nullptr;  // the fiber that run() is to serve
}  // namespace

Fiber::Fiber() : stack_(new char[kStackBytes]) {}

void Fiber::start(const std::function<void()>* body) {
#if defined(__SANITIZE_ADDRESS__)
  if (body_ != nullptr) __asan_unpoison_memory_region(stack_.get(), kStackBytes);  // frames left behind
#endif
  body_ = body;
  fake_inside_ = nullptr;
#if defined(__x86_64__)
  uintptr_t top = reinterpret_cast<uintptr_t>(stack_.get() + kStackBytes) & ~uintptr_t{15};
  void** at = reinterpret_cast<void**>(top);
  *--at = nullptr;  // where run() would return to; it never does, and unwinding ends here
  *--at = reinterpret_cast<void*>(&Fiber::run);
  for (int i = 0; i < 6; ++i) *--at = nullptr;
  inside_ = at;
#else
  getcontext(&inside_);
  inside_.uc_stack.ss_sp = stack_.get();
  inside_.uc_stack.ss_size = kStackBytes;
  inside_.uc_link = nullptr;
  makecontext(&inside_, &Fiber::run, 0);
#endif
}

void Fiber::run() {
  Fiber* self = entering;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &self->outside_stack_, &self->outside_size_);
#endif
  (*self->body_)();
  self->body_ = nullptr;
  self->switch_out(true);
  std::abort();  // an ended fiber was entered
}

void Fiber::switch_in() {
#if defined(__x86_64__)
  pan_simt_switch(&outside_, inside_);
#else
  swapcontext(&outside_, &inside_);
#endif
}

void Fiber::enter() {
  entering = this;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_outside_, stack_.get(), kStackBytes);
#endif
  switch_in();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_outside_, nullptr, nullptr);
#endif
}

void Fiber::switch_out([[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_inside_, outside_stack_, outside_size_);
#endif
#if defined(__x86_64__)
  pan_simt_switch(&inside_, outside_);
#else
  swapcontext(&inside_, &outside_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_inside_, &outside_stack_, &outside_size_);
#endif
}

void Fiber::leave() { switch_out(false); }

}  // namespace pan::simt
