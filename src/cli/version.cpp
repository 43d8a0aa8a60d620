#include <string>

#include "cli/commands.h"
#include "core/isa.h"

namespace pan::cli {

std::string version_text() {
  std::string text = "pan-ppo " PAN_VERSION " (commit " PAN_COMMIT ")\nLibTorch " PAN_LIBTORCH_VERSION
                     "\nCUDA " PAN_CUDA_VERSION "\ncuDNN " PAN_CUDNN_VERSION "\ninstruction set ";
  return text + core::isa().name();
}

}  // namespace pan::cli
