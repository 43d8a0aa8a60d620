// The roofline's flat part, measured: multiply-adds on values that never leave the registers.
#pragma once

namespace pan::kernels::bench {

// float32 GFLOP/s of one thread with the instructions in use (PAN_ISA observed).
double peak_gflops();

// The same of bfloat16 pairs summed in float32; without instructions for them they are widened, and it is
// peak_gflops().
double peak_bfloat16_gflops();

}  // namespace pan::kernels::bench
