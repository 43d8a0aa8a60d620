#include "core/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace pan::core {
namespace {

constexpr int kExitInterrupted = 130;

std::atomic<bool> requested{false};
std::atomic<int> first_signal{0};
std::atomic<int> interrupts{0};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
              "only lock-free atomics may be touched in a signal handler");

void on_signal(int number) {
  if (number == SIGINT && interrupts.fetch_add(1) > 0) _exit(kExitInterrupted);
  int none = 0;
  first_signal.compare_exchange_strong(none, number);
  requested.store(true);
}

}  // namespace

void install_stop_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() { return requested.load(); }
void request_stop() { requested.store(true); }
int stop_signal() { return first_signal.load(); }

void reset_stop() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  requested = false;
  first_signal = 0;
  interrupts = 0;
}

}  // namespace pan::core
