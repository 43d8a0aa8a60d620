#include "kernels/supports.h"

#include <limits>

#include "kernels/cuda/tasks.h"
#include "kernels/dispatch.h"

namespace pan::kernels {
namespace {

std::string number(int64_t x) { return std::to_string(x); }

std::string why_not_on_cuda(const AttentionWork& w) {
  if (!cuda::is_built())
    return "this binary was built without CUDA; run PAN_CUDA=ON scripts/setup.sh and build again, or use the "
           "CPU";
  if (w.head_size > cuda::kMaxHeadSize)
    return "a head size of " + number(w.head_size) + " is above " + number(cuda::kMaxHeadSize) +
           ", the largest of the GPU's attention kernels";
  if (w.num_heads > device::kMaxGridY)
    return number(w.num_heads) + " heads are more than the " + number(device::kMaxGridY) +
           " of the GPU's attention kernels";
  if (w.num_tokens > std::numeric_limits<int32_t>::max())
    return number(w.num_tokens) + " tokens in one call do not fit the 32 bits of the GPU's attention kernels";
  if (w.band_hi - w.band_lo >= cuda::kMaxBandWidth || w.band_hi > std::numeric_limits<int32_t>::max())
    return "a band from " + number(w.band_lo) + " to " + number(w.band_hi) + " is wider than the " +
           number(cuda::kMaxBandWidth) + " diagonals of the GPU's attention kernels";
  return "";
}

std::string why_not(const AttentionWork& w) {
  if (w.device != c10::kCPU && w.device != c10::kCUDA)
    return "attention kernels run on cpu and cuda, not on " + c10::DeviceTypeName(w.device, true);
  if (w.type != c10::kFloat && w.type != c10::kBFloat16 && w.type != c10::kHalf)
    return std::string("attention kernels take float32, bfloat16 and float16, not ") + c10::toString(w.type);
  if (w.head_size < 1) return "a head size of " + number(w.head_size) + " is no head";
  if (w.num_key_heads < 1 || w.num_heads < 1 || w.num_heads % w.num_key_heads != 0)
    return number(w.num_heads) + " query heads are no multiple of " + number(w.num_key_heads) + " key heads";
  if (w.band_lo < 0 || w.band_hi < w.band_lo)
    return "a band from " + number(w.band_lo) + " to " + number(w.band_hi) + " is empty";
  return w.device == c10::kCUDA ? why_not_on_cuda(w) : "";
}

}  // namespace

Support supports(const AttentionWork& work) {
  std::string reason = why_not(work);
  return {reason.empty(), std::move(reason)};
}

}  // namespace pan::kernels
