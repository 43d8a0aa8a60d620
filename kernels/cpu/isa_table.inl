namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {
static const HotKernels kTable = {row_stats_rows, row_stats_scratch, row_stats};
}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
