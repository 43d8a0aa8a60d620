namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {
static const HotKernels kTable = {
    .panel_rows = kPanel,
    .row_stats_rows = row_stats_rows,
    .row_stats_scratch = row_stats_scratch,
    .row_stats = row_stats,
    .band_scratch = band_scratch,
    .band = band,
    .fai_scratch = fai_scratch,
    .fai = fai,
    .anchor_scratch = anchor_scratch,
    .anchor = anchor,
    .decode_scratch = decode_scratch,
    .decode = decode,
    .logprob_packed_floats = logprob_packed_floats,
    .logprob_pack = logprob_pack,
    .logprob_scratch = logprob_scratch,
    .logprob = logprob,
    .logprob_gradient = logprob_gradient,
};
}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
