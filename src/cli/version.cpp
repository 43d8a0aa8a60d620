#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <string>

#include "cli/commands.h"
#include "cli/common.h"
#include "commit.h"
#include "kernels/isa.h"

namespace pan::cli {
namespace {

// "none" in a build without CUDA; a build with it also runs where no driver is loaded, and says so.
std::string cuda_text() {
  const std::string version = PAN_CUDA_VERSION;
  if (version == "none") return "CUDA none\ncuDNN none";
  const long cudnn = at::detail::getCUDAHooks().versionCuDNN();  // 91002 for 9.10.2
  return "CUDA " + version +
         (at::hasCUDA() ? "" : " (no GPU or no driver here: everything runs on the CPU)") + "\ncuDNN " +
         std::to_string(cudnn / 10000) + "." + std::to_string(cudnn / 100 % 100) + "." +
         std::to_string(cudnn % 100);
}

}  // namespace

std::string program_text() { return "pan-ppo " PAN_VERSION " (commit " PAN_COMMIT ")"; }

std::string version_text() {
  check_environment();
  return program_text() + "\nLibTorch " PAN_LIBTORCH_VERSION "\n" + cuda_text() + "\ninstruction set " +
         kernels::active_isa_set().name();
}

}  // namespace pan::cli
