#!/usr/bin/env bash
# Checks that C++ and CUDA sources are formatted, in the style of clang-format 14.
#
#   scripts/check_format.sh          names the files that are not formatted
#   scripts/check_format.sh --fix    formats them
case "${1:-}" in -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
step="checking the format"
mkdir -p build
program=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$program" ] || ! "$program" --version | grep -q 'version 14\.'; then
  [ -x .deps/venv/bin/clang-format ] || { [ -x .deps/venv/bin/python ] || python3 -m venv .deps/venv
    .deps/venv/bin/python -m pip --disable-pip-version-check -q install 'clang-format==14.0.6'; }
  program=.deps/venv/bin/clang-format
fi
files=$(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')
[ -n "$files" ] || exit 0
if [ "${1:-}" = --fix ]; then xargs "$program" -i <<< "$files"; exit 0; fi
xargs "$program" --dry-run -Werror <<< "$files" 2> build/format.log || {
  grep -E 'error:' build/format.log | cut -d: -f1 | sort | uniq -c >&2
  fail "the files above are not formatted; run scripts/check_format.sh --fix"; }
