# Shared by the scripts here (sourced, not run).
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
step="starting"
say() { printf '\033[1m==\033[0m %s\n' "$*"; }
fail() { printf 'failed while %s: %s\n' "$step" "$*" >&2; exit 1; }
trap 'rc=$?; [ $rc -eq 0 ] || printf "failed while %s (line %s, exit %s)\n" "$step" "$LINENO" "$rc" >&2' ERR
set -Eeuo pipefail

# A processor count that respects a container's quota.
num_jobs() {
  local n quota period
  n=$(nproc)
  if [ -r /sys/fs/cgroup/cpu.max ]; then
    read -r quota period < /sys/fs/cgroup/cpu.max
    if [ "$quota" != max ] && [ "$((quota / period))" -ge 1 ] && [ "$((quota / period))" -lt "$n" ]; then
      n=$((quota / period))
    fi
  fi
  echo "$n"
}

# Objects are shared between checkouts at different paths.
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1

# cmake of the environment made by setup.sh if it had to bring one, else the system's.
cmake_program() {
  if [ -x .deps/venv/bin/cmake ]; then echo .deps/venv/bin/cmake; else echo cmake; fi
}

# nvcc's path, or nothing.
find_nvcc() { command -v nvcc || ls "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" 2> /dev/null || true; }

# configure_and_build FOLDER TARGETS... -- CMAKE OPTIONS...
configure_and_build() {
  local folder=$1; shift
  local targets=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do targets+=("$1"); shift; done
  [ $# -eq 0 ] || shift
  local cuda=OFF
  [ ! -f .deps/cuda ] || cuda=$(cat .deps/cuda)
  step="configuring $folder"
  "$(cmake_program)" -S . -B "$folder" -G Ninja -DPAN_CUDA="$cuda" -DLIBTORCH="${LIBTORCH:-}" "$@" > "$folder.configure.log" 2>&1 || {
    cat "$folder.configure.log" >&2; fail "cmake could not configure; its output is above"; }
  step="building $folder"
  ninja -C "$folder" -j "$(num_jobs)" ${targets[@]+"${targets[@]}"}
}
