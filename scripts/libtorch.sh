# The LibTorch in use (sourced by setup.sh; tested by tests/scripts/libtorch_test.sh).

# libtorch_version FOLDER: "2.11.0" as its headers say, or nothing.
libtorch_version() {
  local header=$1/include/torch/headeronly/version.h
  [ -f "$header" ] || header=$1/include/torch/csrc/api/include/torch/version.h
  [ -f "$header" ] || return 0
  sed -nE 's/^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ([0-9]+).*/\2/p' "$header" | paste -sd .
}

# libtorch_problem FOLDER WANTED: why the folder is not a LibTorch of the wanted version (any patch level), or nothing.
libtorch_problem() {
  local version
  if ! [ -f "$1/include/ATen/ATen.h" ] || ! [ -d "$1/lib" ]; then
    echo "it has no include/ATen/ATen.h and lib/"
    return
  fi
  version=$(libtorch_version "$1")
  case $version in "${2%.*}".*) ;; *) echo "it is LibTorch ${version:-of an unknown version}, and ${2%.*} is needed" ;; esac
}

# deps_are_whole FOLDER VERSION [LIBTORCH]: whether what the stamp in FOLDER (.deps) speaks of is still there.
deps_are_whole() {
  local torch=${3:-}
  if [ -z "$torch" ]; then
    [ -x "$1/venv/bin/python" ] || return 1
    torch=$(echo "$1"/venv/lib/python3*/site-packages/torch)
  fi
  [ -f "$1/cuda" ] && [ -z "$(libtorch_problem "$torch" "$2")" ] && [ -e "$torch/lib/libtorch_cpu.so" ]
}
