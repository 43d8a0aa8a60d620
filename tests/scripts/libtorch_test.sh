#!/usr/bin/env bash
# Which LibTorch a configure takes (cmake/FindLibTorch.cmake) and what setup.sh thinks of a folder, with stub folders.
#
#   tests/scripts/libtorch_test.sh [CMAKE]
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$source/scripts/libtorch.sh"
cmake=${1:-cmake}
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
unset LIBTORCH
bad=0
expect() {  # WHAT EXPECTED GOT
  case $3 in *"$2"*) ;; *) printf '%s: expected "%s" in "%s"\n' "$1" "$2" "$3"; bad=1 ;; esac
}

stub() {  # FOLDER MAJOR MINOR PATCH
  mkdir -p "$1/include/ATen" "$1/include/torch/headeronly" "$1/lib"
  touch "$1/include/ATen/ATen.h" "$1/lib/libtorch_cpu.so"
  printf '#define TORCH_VERSION_MAJOR %s\n#define TORCH_VERSION_MINOR %s\n#define TORCH_VERSION_PATCH %s\n' "$2" "$3" "$4" \
    > "$1/include/torch/headeronly/version.h"
}
mkdir "$folder/project"
cp "$source/tests/scripts/libtorch/CMakeLists.txt" "$folder/project/"
wheel=$folder/project/.deps/venv/lib/python3.11/site-packages/torch
stub "$wheel" 2 11 0
stub "$folder/own" 2 11 1
stub "$folder/old" 2 10 0
stub "$folder/none" 2 11 0
rm "$folder/none/include/torch/headeronly/version.h"
configure() { "$cmake" -S "$folder/project" -B "$folder/build" -DPAN_SOURCE="$source" "$@" 2>&1 || true; }

expect "the wheel where nothing is said" "LibTorch 2.11.0: $wheel" "$(configure)"
expect "a folder after the wheel" "LibTorch 2.11.1: $folder/own" "$(configure -DLIBTORCH="$folder/own")"
expect "remembered" "LibTorch 2.11.1: $folder/own" "$(configure)"
expect "the wheel after a folder" "LibTorch 2.11.0: $wheel" "$(configure -DLIBTORCH=)"
expect "the environment" "LibTorch 2.11.1: $folder/own" "$(LIBTORCH=$folder/own configure)"
expect "not remembered" "LibTorch 2.11.0: $wheel" "$(configure)"
expect "another version" "is LibTorch 2.10.0, and pan-ppo needs 2.11" "$(configure -DLIBTORCH="$folder/old" | tr '\n' ' ' | tr -s ' ')"
expect "no version" "is LibTorch of an unknown version, and pan-ppo needs 2.11" \
  "$(configure -DLIBTORCH="$folder/none" | tr '\n' ' ' | tr -s ' ')"
expect "no folder" "was not found" "$(configure -DLIBTORCH="$folder/nowhere")"

expect "good" "|" "$(libtorch_problem "$folder/own" 2.11.0)|"
expect "version" 2.11.1 "$(libtorch_version "$folder/own")"
expect "another version" "it is LibTorch 2.10.0, and 2.11 is needed" "$(libtorch_problem "$folder/old" 2.11.0)"
expect "unknown version" "it is LibTorch of an unknown version" "$(libtorch_problem "$folder/none" 2.11.0)"
expect "no LibTorch" "it has no include/ATen/ATen.h" "$(libtorch_problem "$folder" 2.11.0)"

whole() { deps_are_whole "$folder/project/.deps" 2.11.0 "$@" && echo whole || echo broken; }
mkdir -p "$folder/project/.deps/venv/bin"
touch "$folder/project/.deps/venv/bin/python"
chmod +x "$folder/project/.deps/venv/bin/python"
echo OFF > "$folder/project/.deps/cuda"
expect "all is there" whole "$(whole)"
expect "a folder of one's own" whole "$(whole "$folder/own")"
rm "$wheel/lib/libtorch_cpu.so"
expect "a library is gone" broken "$(whole)"
rm -r "$folder/project/.deps/venv"
expect "the environment is gone" broken "$(whole)"
expect "which a folder of one's own does not need" whole "$(whole "$folder/own")"
rm -r "$folder/own"
expect "that folder is gone" broken "$(whole "$folder/own")"
exit $bad
