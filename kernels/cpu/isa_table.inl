namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {
static const HotKernels kTable = {kPanel,         row_stats_rows, row_stats_scratch, row_stats,
                                  band_scratch,   band,           fai_scratch,       fai,
                                  anchor_scratch, anchor,         decode_scratch,    decode};
}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
