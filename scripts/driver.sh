# The NVIDIA driver of this machine (sourced by setup.sh; tested by tests/scripts/driver_test.sh).

# CUDA 13 runs on drivers from this branch on.
min_driver=580

# driver_version [FILE]: the version in the kernel module's own banner, or nothing where no driver is loaded. There are two
# forms: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun ..." and, of the open module,
# "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build ...".
driver_version() {
  local file=${1:-/proc/driver/nvidia/version}
  [ -r "$file" ] || return 0
  sed -nE '1s/^[^.]*[^0-9.]([0-9]+(\.[0-9]+)+).*/\1/p' "$file"
}

# driver_is_old VERSION: whether CUDA 13 refuses it.
driver_is_old() { [ "${1%%.*}" -lt "$min_driver" ]; }

# choose_cuda AUTO|ON|OFF DRIVER NVCC: "ON reason" or "OFF reason"; the last two are empty where there is none. Fails with a
# sentence on stderr where the choice cannot be made.
choose_cuda() {
  local choice=$1 driver=$2 nvcc=$3 old=""
  if [ -n "$driver" ] && driver_is_old "$driver"; then old=", too old for CUDA 13, which needs $min_driver or later"; fi
  case $choice in
    ON)
      [ -n "$nvcc" ] || { echo "PAN_CUDA=ON needs the CUDA toolkit, and nvcc was not found. Install the toolkit (13.0) or set PAN_CUDA=OFF." >&2; return 1; }
      echo "ON asked for (driver ${driver:-not loaded}$old)" ;;
    OFF) echo "OFF asked for" ;;
    AUTO)
      if [ -z "$driver" ]; then echo "OFF no NVIDIA driver is loaded"
      elif [ -n "$old" ]; then echo "OFF NVIDIA driver $driver is there$old: update it for GPU support, or set PAN_CUDA=ON to build all the same"
      elif [ -z "$nvcc" ]; then echo "OFF NVIDIA driver $driver is there, but no CUDA toolkit (nvcc): install it for GPU support"
      else echo "ON NVIDIA driver $driver and $nvcc"; fi ;;
    *) echo "PAN_CUDA=$choice is not AUTO, ON or OFF" >&2; return 1 ;;
  esac
}
