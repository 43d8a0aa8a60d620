// The roofline's flat part, measured: float32 multiply-adds on values that never leave the registers.
#pragma once

namespace pan::kernels::bench {

// GFLOP/s of one thread with the widest vectors that this processor has.
double peak_gflops();

}  // namespace pan::kernels::bench
