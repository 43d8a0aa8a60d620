#!/usr/bin/env bash
# Sets up what is missing, builds everything and runs all tests that need nothing from outside the repository.
#
#   scripts/test.sh            format, layers, unit tests, sanitizers on the cheap suites; where nvcc is there, the CUDA
#                              sources are compiled for every architecture and the program is linked with them
#   scripts/test.sh --quick    unit tests only
#   scripts/test.sh --slow     also the slow tests
#   scripts/test.sh --external after a build: what needs the Python packages transformers and peft (PAN_TEST_PYTHON, default
#                              python3), with PAN_TEST_MODEL=DIR also that model: logits, and all texts of data/gsm8k tokenized
case "${1:-}" in -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
mode=${1:-}
case "$mode" in "" | --quick | --slow | --external) ;; *) fail "unknown option $mode; see scripts/test.sh --help" ;; esac
scripts/setup.sh
if [ "$mode" = --external ]; then
  configure_and_build build/release model_external_tests tokenizer_tool
  export PAN_TEST_PYTHON=${PAN_TEST_PYTHON:-python3}
  step="running the external tests"
  ctest --test-dir build/release -L external --output-on-failure -V | grep -E '(OK|FAILED|SKIPPED) +\]|ifference|distance|PAN_TEST|Python with|tests passed'
  [ -n "${PAN_TEST_MODEL:-}" ] || exit 0
  step="comparing the tokenizer of $PAN_TEST_MODEL"
  exec "$PAN_TEST_PYTHON" tests/tokenizer/check_model_folder.py --tool build/release/src/tokenizer/tokenizer_tool --gsm8k data/gsm8k
fi
mkdir -p build
if [ "$mode" != --quick ]; then
  step="checking layers and format"
  python3 scripts/check_layers.py
  scripts/check_format.sh
fi
configure_and_build build/release
if [ "$mode" != --quick ]; then
  # LibTorch is not instrumented, so only suites that stay outside of it are worth the build time here; `cmake --preset asan`
  # builds the others.
  sanitized=(core metrics checkpoint tokenizer tasks)
  say "address and undefined-behaviour sanitizers: ${sanitized[*]}"
  configure_and_build build/asan "${sanitized[@]/%/_tests}" -- -DPAN_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=Debug
  step="running the sanitized tests"
  export ASAN_OPTIONS=detect_container_overflow=0:detect_leaks=1 LSAN_OPTIONS=suppressions="$root/scripts/lsan.supp":print_suppressions=0
  export UBSAN_OPTIONS=print_stacktrace=1
  ctest --test-dir build/asan --output-on-failure -R "^($(IFS='|'; echo "${sanitized[*]}"))\$"
  unset ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS
fi
# No GPU and no CUDA libraries are needed to compile and link: libtorch_cuda.so is part of every wheel, and what it loads itself
# may be missing at link time. The other objects come out of the compiler cache, since only kernels/ differs.
check_cuda() {
  local nvcc; nvcc=$(find_nvcc)
  if [ "$(cat .deps/cuda)" = ON ]; then say "CUDA: part of the build above"; return; fi
  if [ -z "$nvcc" ]; then say "CUDA: not compiled, there is no nvcc here"; return; fi
  local torch_lib
  torch_lib=$(echo "${LIBTORCH:-$(echo .deps/venv/lib/python3*/site-packages/torch)}"/lib)
  if [ ! -e "$torch_lib/libtorch_cuda.so" ]; then say "CUDA: not compiled, $torch_lib has no libtorch_cuda.so"; return; fi
  local begin=$SECONDS
  configure_and_build build/cuda pan-ppo kernels_tests kernel_bench model_bench -- -DPAN_CUDA=ON
  scripts/gpu_check.sh --dry-run > /dev/null
  step="looking for the CUDA sources among what was built"
  local sources objects
  sources=$(git ls-files 'kernels/cuda/*.cu' | wc -l)
  objects=$(grep -cE '^build .*\.cu\.o:' build/cuda/build.ninja || true)
  [ "$sources" = "$objects" ] || fail "kernels/cuda holds $sources .cu files, but $objects were compiled"
  say "CUDA: $sources files compiled for sm_80 and sm_90 and the program, the kernel tests and both benchmarks linked in $((SECONDS - begin)) s; not run, which takes a GPU (scripts/gpu_check.sh)"
}
[ "$mode" = --quick ] || check_cuda
step="running the tests"
labels='unit|config'
[ "$mode" != --slow ] || labels='unit|config|slow'
log=build/tests.log
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}  # as the program sets it for itself: neighbours cost less
ctest --test-dir build/release -L "$labels" --output-on-failure -V > "$log" 2>&1 || {
  grep -E '^[0-9]+: .*(Failure|FAILED|error|Error)|tests failed|\*\*\*' "$log" | head -60; ctest --test-dir build/release --rerun-failed --output-on-failure | tail -80; exit 1; }
# googletest prints "FILE:LINE: Skipped" and the reason on the next line.
reasons=$(awk '/: Skipped$/ { getline; sub(/^[0-9]+: /, ""); print }' "$log")
unexpected=$(grep -viE 'CUDA|GPU' <<< "$reasons" | sort | uniq -c || true)
say "$(grep -cE '^[0-9]+: \[       OK \]' "$log" || true) test cases passed, $(grep -ciE 'CUDA|GPU' <<< "$reasons" || true) skipped (they need a GPU)"
[ -z "${unexpected//[[:space:]0-9]/}" ] || fail "tests were skipped that need no GPU: $unexpected"
tail -12 "$log" | grep -E 'tests passed|Total Test time'
