#!/usr/bin/env bash
# Tests scripts/driver.sh with the banners of both kernel modules.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/driver.sh"
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
bad=0
expect() {  # WHAT EXPECTED GOT
  [ "$2" = "$3" ] || { printf '%s: expected "%s", got "%s"\n' "$1" "$2" "$3"; bad=1; }
}
banner() {
  printf '%s\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n' "$1" > "$folder/version"
  driver_version "$folder/version"
}

expect "open module" 570.86.15 \
  "$(banner 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder@U22)  Thu Jan 23 2025')"
expect "proprietary module" 580.65.06 \
  "$(banner 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 06:34:58 UTC 2025')"
expect "open module of another processor" 580.95.05 \
  "$(banner 'NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build')"
expect "version of two numbers" 590.44 "$(banner 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  590.44  Mon Jan 5 2026')"
expect "no version" "" "$(banner 'NVRM version: something else')"
expect "no driver" "" "$(driver_version "$folder/missing")"

expect "auto without driver" "OFF no NVIDIA driver is loaded" "$(choose_cuda AUTO '' /nvcc)"
expect "auto with an old driver" \
  "OFF NVIDIA driver 570.86.15 is there, too old for CUDA 13, which needs 580 or later: update it for GPU support, or set PAN_CUDA=ON to build all the same" \
  "$(choose_cuda AUTO 570.86.15 /nvcc)"
expect "auto without toolkit" "OFF NVIDIA driver 580.65.06 is there, but no CUDA toolkit (nvcc): install it for GPU support" \
  "$(choose_cuda AUTO 580.65.06 '')"
expect "auto with both" "ON NVIDIA driver 580.65.06 and /nvcc" "$(choose_cuda AUTO 580.65.06 /nvcc)"
expect "asked for, old driver" "ON asked for (driver 570.86.15, too old for CUDA 13, which needs 580 or later)" \
  "$(choose_cuda ON 570.86.15 /nvcc)"
expect "asked for, no driver" "ON asked for (driver not loaded)" "$(choose_cuda ON '' /nvcc)"
expect "asked for without toolkit" failed "$(choose_cuda ON 580.65.06 '' 2> /dev/null || echo failed)"
expect "off" "OFF asked for" "$(choose_cuda OFF 580.65.06 /nvcc)"
expect "another word" failed "$(choose_cuda MAYBE '' '' 2> /dev/null || echo failed)"
exit $bad
