#!/usr/bin/env bash
# Remakes data/quickstart: two stages of supervised training on generated puzzles (configs/quickstart_sft_1.json and _2.json), with
# the tokenizer that is there. One thread, about half an hour.
#
#   scripts/make_quickstart_model.sh [--tokenizer]
#
#   --tokenizer   trains a new sentencepiece model on generated puzzles first (needs spm_train). The weights made with another
#                 tokenizer are another model: how soon the first stage finds out how to reason differs much from one to another.
tokenizer=0
case "${1:-}" in
  -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
  --tokenizer) tokenizer=1 ;;
  "") ;;
  *) echo "unknown argument '$1'; see --help" >&2; exit 2 ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
scripts/build.sh
if [ "$tokenizer" = 1 ]; then
  step="training the sentencepiece model"
  command -v spm_train > /dev/null || fail "spm_train was not found; install the Debian package 'sentencepiece'"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  for size in 2x2 2x3 2x4 3x2 3x3; do
    build/release/bin/pan-ppo tasks logic-grid --size "$size" --count 1500 --seed 1 --prompt-style compact --answer-style lines \
      --output "$work/$size.jsonl"
  done
  python3 - "$work" << 'PY'
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
with open(folder / "text.txt", "w") as out:
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.open():
            row = json.loads(line)
            out.write(row["prompt"] + row["answer"] + "\n")
PY
  # Newlines and the numbers of houses are tokens of their own, white space is kept, nothing is normalised, so that decoding gives
  # back every byte.
  spm_train --input="$work/text.txt" --model_prefix="$work/spm" --model_type=bpe --vocab_size=700 --hard_vocab_limit=false \
    --normalization_rule_name=identity --remove_extra_whitespaces=false --add_dummy_prefix=false \
    --character_coverage=1.0 --byte_fallback=true --user_defined_symbols=$'\n',▁1,▁2,▁3,▁4,▁5,▁6 --bos_id=1 --eos_id=2 --pad_id=-1 \
    --num_threads=1 --minloglevel=2
  mkdir -p data/quickstart
  cp "$work/spm.model" data/quickstart/tokenizer.model
fi
for stage in 1 2; do
  step="training, stage $stage"
  rm -rf runs/quickstart_sft_$stage
  build/release/bin/pan-ppo sft --config configs/quickstart_sft_$stage.json --run-dir runs/quickstart_sft_$stage
done
cp runs/quickstart_sft_2/checkpoints/latest/policy/{config.json,model.safetensors} data/quickstart/
say "data/quickstart is remade; its accuracy is in runs/quickstart_sft_2/metrics.jsonl"
