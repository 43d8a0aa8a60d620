#!/usr/bin/env bash
# Installs what pan-ppo is built from: Debian or Ubuntu packages (with sudo when not root) and LibTorch 2.11.0 from its Python
# wheel, into .deps/. Does nothing, in under two seconds, where everything is there.
#
#   scripts/setup.sh
#   LIBTORCH=DIR scripts/setup.sh      use your own LibTorch 2.11 instead of the wheel
#   PAN_CUDA=AUTO|ON|OFF               with CUDA: AUTO (default) takes it where a driver and the toolkit are found
case "${1:-}" in -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source scripts/driver.sh
source scripts/libtorch.sh

torch_version=2.11.0
packages=(build-essential ninja-build cmake ccache mold git python3 libsentencepiece-dev nlohmann-json3-dev libspdlog-dev
  libfmt-dev libcli11-dev libgtest-dev libgmock-dev libpcre2-dev libutf8proc-dev)

# --- CUDA or not -------------------------------------------------------------------------------------------------------
step="choosing between CPU and CUDA"
chosen=$(choose_cuda "${PAN_CUDA:-AUTO}" "$(driver_version)" "$(find_nvcc)" 2>&1) || fail "$chosen"
cuda=${chosen%% *} reason=${chosen#* }
say "CUDA $cuda ($reason)"

# --- system packages ----------------------------------------------------------------------------------------------------
step="looking for system packages"
command -v dpkg-query > /dev/null || fail "this script installs with apt; on another system install the packages named in it by hand"
missing=()
installed=$(dpkg-query -W -f '${Package} ${Status}\n' "${packages[@]}" 2> /dev/null || true)
for p in "${packages[@]}"; do
  grep -q "^$p install ok installed" <<< "$installed" || missing+=("$p")
done
python3 -c 'import ensurepip, venv' 2> /dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${missing[*]}"
  sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    sudo=$(command -v sudo) || fail "these packages are missing: ${missing[*]}. Install them as root (apt-get install ...), there is no sudo here."
  fi
  step="updating the package lists (apt-get update)"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq || fail "apt-get update failed; check the network and /etc/apt/sources.list"
  step="installing ${missing[*]}"
  # sudo drops variables of the environment, env after it does not.
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null ||
    fail "apt-get install failed; run it by hand to see why: apt-get install ${missing[*]}"
fi

# --- LibTorch ------------------------------------------------------------------------------------------------------------
step="making .deps"
mkdir -p .deps
need_cmake_wheel() { ! cmake --version 2> /dev/null | awk 'NR==1{split($3,v,"."); exit !(v[1]>3 || (v[1]==3 && v[2]>=25))}'; }
stamp="torch $torch_version cuda $cuda libtorch ${LIBTORCH:-wheel}"
repair=""
if [ "$(cat .deps/stamp 2> /dev/null || true)" = "$stamp" ] && ! deps_are_whole .deps "$torch_version" "${LIBTORCH:-}"; then
  say "parts of .deps are missing: installing them again"
  repair=--force-reinstall
  rm .deps/stamp
fi
if [ "$(cat .deps/stamp 2> /dev/null || true)" != "$stamp" ]; then
  if [ ! -x .deps/venv/bin/python ]; then
    step="making a Python environment in .deps/venv"
    python3 -m venv .deps/venv || fail "python3 -m venv failed; install python3-venv"
  fi
  pip() { .deps/venv/bin/python -m pip --disable-pip-version-check -q "$@"; }
  if need_cmake_wheel; then
    step="installing a newer cmake (3.25 or later is needed)"
    pip install 'cmake>=3.25,<5' || fail "pip could not install cmake"
  fi
  if [ -n "${LIBTORCH:-}" ]; then
    step="checking LIBTORCH=$LIBTORCH"
    problem=$(libtorch_problem "$LIBTORCH" "$torch_version")
    [ -z "$problem" ] || fail "$problem; point it at an unpacked LibTorch $torch_version, or unset it to use the Python wheel"
  else
    step="installing LibTorch $torch_version into .deps/venv"
    say "LibTorch $torch_version from its Python wheel ($([ $cuda = ON ] && echo "about 3.9 GB" || echo "about 1.3 GB"))"
    pip install $repair --no-deps "torch==$torch_version" || fail "pip could not install torch==$torch_version; check the network and the free disk space ($(df -h --output=avail . | tail -1 | tr -d ' ') free here)"
    if [ $cuda = ON ]; then
      # Everything that torch's metadata names for CUDA, without triton (640 MB that only Python uses).
      wanted=$(.deps/venv/bin/python - << 'PY'
import importlib.metadata as m, re
for r in m.requires("torch") or []:
    name = re.match(r"[A-Za-z0-9_-]+", r).group(0)
    if name.startswith("nvidia") or name == "cuda-toolkit":
        print(r.split(";")[0].strip())
PY
      )
      mapfile -t wanted <<< "$wanted"
      # pip complains at length about what torch lacks for Python; it is not needed here.
      pip install $repair "${wanted[@]}" 2> .deps/pip.log || { cat .deps/pip.log >&2; fail "pip could not install the CUDA libraries of torch"; }
    else
      # libtorch_cpu.so of this wheel loads these two libraries whether or not there is a GPU.
      pip install $repair --no-deps 'nvidia-cuda-runtime>=13.0,<13.1' 'nvidia-cuda-cupti>=13.0,<13.1' || fail "pip could not install the CUDA runtime library"
    fi
  fi
  echo "$cuda" > .deps/cuda
  echo "$stamp" > .deps/stamp
fi
say "ready: $stamp"
