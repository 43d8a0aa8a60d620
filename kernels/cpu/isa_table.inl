namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {
static const HotKernels kTable = {
    .panel_rows = kPanel,
    .key_tile = kKeyTile,
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
    .backward_is_narrow = backward_is_narrow,
    .backward_scratch = backward_scratch,
    .backward_pack_hidden = backward_pack_hidden,
    .backward_pack_weight = backward_pack_weight,
    .backward_gradient = backward_gradient,
    .backward_weight = backward_weight,
    .backward_hidden = backward_hidden,
};
}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
