#!/usr/bin/env bash
# Puts the GSM8K files into data/gsm8k and verifies their checksums.
#
#   scripts/fetch_gsm8k.sh               download them from the repository openai/grade-school-math
#   scripts/fetch_gsm8k.sh --from DIR    take train.jsonl and test.jsonl from DIR instead (no network)
#   scripts/fetch_gsm8k.sh --to DIR      put them somewhere else
#
# The files are not part of this repository. GSM8K is MIT-licensed: Cobbe et al., arXiv:2110.14168.
set -Eeuo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source_url=https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data
from='' to=$root/data/gsm8k

fail() { printf 'fetch_gsm8k: %s\n' "$1" >&2; exit "${2:-3}"; }
checksum_of() {
  case $1 in
    train.jsonl) echo 17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465 ;;
    test.jsonl) echo 3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14 ;;
  esac
}
is_right() { [ "$(sha256sum "$1" 2> /dev/null | cut -d ' ' -f 1)" = "$(checksum_of "$2")" ]; }

download() {
  if command -v curl > /dev/null; then
    curl --fail --location --silent --show-error --retry 3 --connect-timeout 20 --output "$2" "$1"
  elif command -v wget > /dev/null; then
    wget --quiet --tries 3 --timeout 20 --output-document "$2" "$1"
  else
    python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' "$1" "$2"
  fi
}

while [ $# -gt 0 ]; do
  case $1 in
    --from | --to)
      [ $# -ge 2 ] || fail "$1 needs a folder" 2
      if [ "$1" = --from ]; then from=$2; else to=$2; fi
      shift 2 ;;
    -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown argument '$1'; see --help" 2 ;;
  esac
done

mkdir -p "$to" 2> /dev/null || fail "cannot make the folder $to" 4
for name in train.jsonl test.jsonl; do
  if is_right "$to/$name" "$name"; then
    echo "$to/$name is there"
    continue
  fi
  new=$to/$name.new
  trap 'rm -f "$new"' EXIT
  if [ -n "$from" ]; then
    [ -f "$from/$name" ] || fail "$from has no $name; expected the files of openai/grade-school-math"
    cp "$from/$name" "$new" || fail "cannot write to $to" 4
  else
    download "$source_url/$name" "$new" ||
      fail "could not download $source_url/$name. Get it by other means and use --from DIR"
  fi
  is_right "$new" "$name" || fail "$name has another checksum than expected:
  expected $(checksum_of "$name")
  got      $(sha256sum "$new" | cut -d ' ' -f 1)
Nothing was replaced. Take the files of openai/grade-school-math, unchanged."
  mv "$new" "$to/$name"
  echo "$to/$name: $(wc -l < "$to/$name") problems, checksum verified"
done
