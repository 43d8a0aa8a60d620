// Clocks and devices.
#pragma once

#include <ATen/DeviceAccelerator.h>

namespace pan::model {

// Waits until the work queued on a GPU is done, before a clock is read; nothing on the CPU.
inline void wait_for(at::Device device) {
  if (!device.is_cpu()) at::accelerator::synchronizeDevice(device.has_index() ? device.index() : 0);
}

}  // namespace pan::model
