#!/usr/bin/env bash
# Everything that only a GPU can show, in one call of at most nine minutes: tests, compute-sanitizer, benchmarks, a short
# training run. Results go to a folder: results.json (what ran, how it ended, what the tap costs), gpu_check.log, and a JSON
# file per benchmark.
#
#   scripts/gpu_check.sh [--out DIR] [--minutes N] [--only PART,PART] [--model DIR]
#   scripts/gpu_check.sh --bin DIR|FILE.tar.xz     use programs built elsewhere instead of building them here
#   scripts/gpu_check.sh --pack FILE.tar.xz        build (no GPU needed) and pack the programs for such a machine
#   scripts/gpu_check.sh --dry-run                 print what would run
#
# --out: default $OUT, else build/gpu_check. --minutes: default 9; parts that would start too late are left out and say so.
# --pack refuses an archive above 64 MiB or programs that need a newer C library than 2.35.
# Parts: environment tests repeat sanitizer kernels model train generate slow. Without --bin it builds like scripts/test.sh (needs nvcc
# and what setup.sh installs). With --bin it needs LibTorch 2.11 for CUDA only: the Python package torch, or LIBTORCH=DIR.
case "${1:-}" in -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

out=${OUT:-build/gpu_check} minutes=9 only="" bin="" pack="" model="" dry=""
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2; shift 2 ;;
    --minutes) minutes=$2; shift 2 ;;
    --only) only=$2; shift 2 ;;
    --bin) bin=$2; shift 2 ;;
    --pack) pack=$2; shift 2 ;;
    --model) model=$2; shift 2 ;;
    --dry-run) dry=1; shift ;;
    *) fail "unknown option $1; --help shows them" ;;
  esac
done
build=${PAN_CUDA_BUILD:-build/cuda}
programs=(bin/pan-ppo kernels/kernels_tests kernels/kernels_slow_tests kernels/kernel_bench src/model/model_tests src/rl/rl_tests
  src/rollout/rollout_tests tests/model_bench)

build_programs() {
  local targets=(); for p in "${programs[@]}"; do targets+=("${p##*/}"); done
  mkdir -p "$build"
  configure_and_build "$build" "${targets[@]}" -- -DPAN_CUDA=ON
}

if [ -n "$pack" ]; then
  build_programs
  step="packing the programs"
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  for p in "${programs[@]}"; do strip -o "$folder/${p##*/}" "$build/$p"; done
  # The one library that has no static form in Debian.
  cp -L "$(ldd "$build/bin/pan-ppo" | awk '/libsentencepiece/ {print $3}')" "$folder/"
  git rev-parse HEAD > "$folder/commit"
  # All programs hold the same device code: a window wide enough to see the last one packs it once.
  tar -C "$folder" -c . | xz -T1 --lzma2=preset=3,dict=192MiB > "$pack"
  bytes=$(stat -c %s "$pack") limit=$((64 << 20))
  say "$pack: $bytes bytes of at most $limit"
  [ "$bytes" -le "$limit" ] || fail "the archive is too large"
  glibc=$(for f in "$folder"/*; do objdump -T "$f" 2> /dev/null || true; done | grep -oE 'GLIBC_2\.[0-9]+' | sort -uV | tail -1)
  say "newest C library symbol: $glibc"
  [ "$(printf '%s\n' "$glibc" GLIBC_2.35 | sort -V | tail -1)" = GLIBC_2.35 ] || fail "the programs need $glibc, which older systems lack"
  exit 0
fi

# --- where the programs and libraries are -------------------------------------------------------------------------------
find_torch() {
  if [ -n "${LIBTORCH:-}" ]; then echo "$LIBTORCH"; return; fi
  python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2> /dev/null || true
}
if [ -n "$bin" ]; then
  step="opening --bin $bin"
  if [ -f "$bin" ]; then
    unpacked=$(mktemp -d); trap 'rm -rf "$unpacked"' EXIT
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$bin" "$unpacked" || fail "it is no archive made by --pack"
    bin=$unpacked
  fi
  [ -n "$dry" ] || [ -x "$bin/kernels_tests" ] || fail "it holds no kernels_tests; make it with --pack"
  bin=$(cd "$bin" && pwd)
  torch=$(find_torch)
  [ -n "$dry" ] || [ -e "$torch/lib/libtorch_cuda.so" ] || fail "LibTorch with CUDA was not found ('$torch'); install the Python package torch, or set LIBTORCH"
  libraries=$bin:$torch/lib
  for d in "$torch"/../nvidia/*/lib; do [ ! -d "$d" ] || libraries+=:$d; done
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
elif [ -z "$dry" ]; then
  build_programs
  bin=$(cd "$build" && pwd)/flat
  rm -rf "$bin"; mkdir -p "$bin"
  for p in "${programs[@]}"; do ln -s "$(dirname "$bin")/$p" "$bin/${p##*/}"; done
fi
export PAN_SOURCE_DIR=$root
# Some containers set these so that float32 products are computed in TF32.
export NVIDIA_TF32_OVERRIDE=0 TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=0

# --- the parts ------------------------------------------------------------------------------------------------------------
begin=$SECONDS
deadline=$((minutes * 60 - 15))
mkdir -p "$out"
log=$out/gpu_check.log
: > "$log"
entries=$out/.entries
: > "$entries"
[ -n "$dry" ] || rm -f "$out"/model_bench_*.json "$out/train_metrics.jsonl"
bad=0
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null || true)
commit=$(cat "$bin/commit" 2> /dev/null || git rev-parse HEAD 2> /dev/null || echo unknown)

text_of() { python3 -c 'import json, sys; print(json.dumps(sys.stdin.read().strip()))'; }

# What the attention tap costs: share of the scoring forward it rides on, and perf/tap_share of the short training run.
tap_figures() {
  python3 - "$out" << 'EOF'
import glob, json, pathlib, statistics, sys
out = pathlib.Path(sys.argv[1])
forward = []
for name in sorted(glob.glob(f"{out}/model_bench_*.json")):
    bench = json.load(open(name))
    forward += [{"dtype": bench["dtype"], "T": r["T"], "in_turns": round(r["ratio"] - 1, 5), "by_parts": round(r["ratio_by_parts"] - 1, 5)}
                for r in bench["rows"] if r["what"] == "tap"]
training = out / "train_metrics.jsonl"
events = map(json.loads, training.read_text().splitlines()) if training.exists() else []
shares = [e["perf/tap_share"] for e in events if "perf/tap_share" in e]
print(json.dumps({"of_scoring_forward": forward, "of_training_step": statistics.median(shares) if shares else None}))
EOF
}

# After every part, so that a call that is cut off leaves what it has.
gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null | head -1 || true)
write_results() {
  { printf '{"date": "%s", "commit": "%s", "device": %s, "minutes": %s, "seconds": %d, "tap_share": %s, "parts": [\n' \
      "$(date -u +%FT%TZ)" "$commit" "$(echo "${gpu:-no GPU}" | text_of)" "$minutes" "$((SECONDS - begin))" "$(tap_figures 2>> "$log" || echo null)"
    sed '$!s/$/,/' "$entries"
    echo ']}'; } > "$out/results.json"
}

# part NAME SECONDS COMMAND...: runs it for at most SECONDS, notes how it ended.
part() {
  local name=$1 limit=$2; shift 2
  local group=${name%%.*}
  [ -z "$only" ] || [[ ",$only," == *",$group,"* ]] || return 0
  if [ -n "$dry" ]; then echo "$name (at most $limit s): $*"; return 0; fi
  local left=$((deadline - (SECONDS - begin))) started=$SECONDS rc=0 state
  if [ $left -lt 10 ]; then
    say "$name: left out, no time"
    echo "{\"name\": \"$name\", \"state\": \"left out\"}" >> "$entries"
    write_results
    return 0
  fi
  [ $limit -le $left ] || limit=$left
  printf '\n===== %s: %s\n' "$name" "$*" >> "$log"
  timeout --kill-after=5 "$limit" "$@" > "$out/.part" 2>&1 || rc=$?
  cat "$out/.part" >> "$log"
  case $rc in 0) state=passed ;; 124 | 137) state="out of time" ;; *) state=failed ;; esac
  # initcheck sees our kernels alone: what ATen and cuBLAS wrote may look unwritten to it, so it only informs.
  [ $rc -eq 0 ] || [ "$name" = sanitizer.initcheck ] || bad=$((bad + 1))
  local ran skipped
  ran=$(grep -cE '^\[       OK \]' "$out/.part" || true)
  skipped=$(grep -cE '^\[  SKIPPED \] .*ms\)' "$out/.part" || true)
  say "$name: $state in $((SECONDS - started)) s$([ "$ran" = 0 ] || echo ", $ran tests")$([ "$skipped" = 0 ] || echo ", $skipped skipped")"
  [ $rc -eq 0 ] || grep -E 'Failure|FAILED|rror|Which|actual|got ' "$out/.part" | head -25 || true
  if [[ " tests repeat sanitizer slow " == *" $group "* ]] && [ "$ran" = 0 ] && [ $rc -eq 0 ]; then state="nothing ran"; bad=$((bad + 1)); say "$name: nothing ran: is there a GPU?"; fi
  printf '{"name": "%s", "state": "%s", "rc": %d, "seconds": %d, "tests": %d, "skipped": %d, "tail": %s}\n' \
    "$name" "$state" "$rc" "$((SECONDS - started))" "$ran" "$skipped" "$(tail -c 1500 "$out/.part" | text_of)" >> "$entries"
  write_results
}

environment() {
  date -u; echo "commit $commit"; uname -srm; nproc
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,power.limit,mig.mode.current --format=csv
  { command -v nvcc > /dev/null && nvcc --version || /usr/local/cuda/bin/nvcc --version; } | tail -2
  echo "torch ${torch:-of the build}"; "$bin/pan-ppo" --version
}
short_run() {
  local folder; folder=$(mktemp -d)
  "$bin/pan-ppo" train --config configs/quickstart.json --run-dir "$folder/run" --set model.device=cuda --set train.iterations=3 \
    --set eval.num_problems=64 --set checkpoint.every=2
  "$bin/pan-ppo" eval --model "$folder/run" --output "$folder/eval" --limit 64
  cp "$folder/run/metrics.jsonl" "$out/train_metrics.jsonl"
  grep -o '"perf/[a-z_]*": *[^,}]*' "$out/train_metrics.jsonl"
  rm -rf "$folder"
}
generation() {
  local m=${model:-data/quickstart}
  printf '{"prompt": "Natalia sold clips to 48 of her friends"}\n' > "$out/.prompts"
  "$bin/pan-ppo" generate --model "$m" --input "$out/.prompts" --samples 64 --temperature 1 --max-new-tokens 128 --ignore-stop --json \
    --device cuda --dtype bfloat16 --repetitions 2 | python3 -c 'import json, sys; d = json.load(sys.stdin); d.pop("texts"); print(json.dumps(d))'
}
export -f environment short_run generation
export bin commit out model torch=${torch:-}

cuda_only='--gtest_filter=*Devices*/1'
part environment 30 bash -c environment
part tests.kernels 120 "$bin/kernels_tests" "$cuda_only"
part tests.model 40 "$bin/model_tests" "$cuda_only"
part tests.rl 40 "$bin/rl_tests" "$cuda_only"
part tests.rollout 40 "$bin/rollout_tests" "$cuda_only"
part repeat.kernels 30 "$bin/kernels_tests" '--gtest_filter=*TwoRunsGiveTheSameBits*/1'
small='--gtest_filter=*AttentionStats.OddHeadSizes*/1:*AttentionStats.WhatIs*/1:*AttentionIdentities.All*/1:*DecodeAttention.Rows*/1:*LogprobEntropyKernel.Values*/1:*AttentionStats.SmallSixteenBit*/1'
if [ -n "$sanitizer" ] || [ -n "$dry" ]; then
  for tool in memcheck racecheck initcheck synccheck; do
    part sanitizer.$tool 60 "${sanitizer:-compute-sanitizer}" --tool $tool --error-exitcode 9 --kernel-name kernel_substring=pan "$bin/kernels_tests" "$small"
  done
else
  say "sanitizer: compute-sanitizer is not here (it comes with the CUDA toolkit)"
  [ -n "$only" ] && [[ ",$only," != *",sanitizer,"* ]] || echo '{"name": "sanitizer", "state": "unavailable"}' >> "$entries"
fi
part kernels.bench 110 "$bin/kernel_bench" --device cuda --json "$out/kernel_bench.json"
part model.bfloat16 70 "$bin/model_bench" --device cuda --dtype bfloat16 --threads 8 ${model:+--model "$model"} --json "$out/model_bench_bfloat16.json"
part model.float32 60 "$bin/model_bench" --device cuda --dtype float32 --threads 8 --quick ${model:+--model "$model"} --json "$out/model_bench_float32.json"
part train.quickstart 90 bash -ec short_run
part generate.speed 40 bash -ec generation
part slow.kernels 120 "$bin/kernels_slow_tests" "$cuda_only"

[ -z "$dry" ] || exit 0
rm -f "$entries" "$out/.part" "$out/.prompts"
say "results in $out; $bad part(s) did not pass"
exit $((bad > 0))
