// Asking a run to stop. The handler only sets a flag; the trainer looks at it between units of work.
//
//   core::install_stop_signals();
//   while (!core::stop_requested()) step();
#pragma once

namespace pan::core {

// SIGINT and SIGTERM set the flag from now on; the second SIGINT leaves the process at once with exit code
// 130. System calls that were interrupted are restarted. May be called again.
void install_stop_signals();

// Set by a signal, or by request_stop (a time limit, a test).
bool stop_requested();
void request_stop();

// The first signal that asked for the stop: SIGINT, SIGTERM, or 0.
int stop_signal();

// Clears the flag and gives both signals their default action back (tests).
void reset_stop();

}  // namespace pan::core
