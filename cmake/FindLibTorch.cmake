# Imported targets for LibTorch: pan::torch (CPU libraries, and CUDA ones with PAN_CUDA).
# LIBTORCH (variable or environment) points at a LibTorch folder; else the Python wheel in .deps/ is used.
# find_package(Torch) is not used: it needs a CUDA toolkit for a CUDA wheel and changes global flags.
set(LIBTORCH "$ENV{LIBTORCH}" CACHE PATH "LibTorch folder (holds include/ and lib/)")
if(LIBTORCH)
  set(_torch_root ${LIBTORCH})
else()
  file(GLOB _torch_roots ${CMAKE_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages/torch)
  list(LENGTH _torch_roots _n)
  if(_n GREATER 0)
    list(GET _torch_roots 0 _torch_root)
  endif()
endif()
if(NOT _torch_root OR NOT EXISTS ${_torch_root}/include/ATen/ATen.h)
  message(FATAL_ERROR "LibTorch was not found (looked in '${_torch_root}'). Run scripts/setup.sh, or set LIBTORCH=DIR "
                      "to a LibTorch 2.11 folder that holds include/ and lib/.")
endif()
file(STRINGS ${_torch_root}/include/torch/headeronly/version.h _v REGEX "TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+$")
string(REGEX REPLACE "[^0-9;]" "" _v "${_v}")
string(REPLACE ";" "." LIBTORCH_VERSION "${_v}")
set(LIBTORCH_ROOT ${_torch_root})
set(LIBTORCH_LIB_DIR ${_torch_root}/lib)
message(STATUS "LibTorch ${LIBTORCH_VERSION}: ${_torch_root}")

function(_pan_torch_library target file)
  add_library(${target} SHARED IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${LIBTORCH_LIB_DIR}/${file}
                        IMPORTED_NO_SONAME OFF)
endfunction()
_pan_torch_library(pan_torch_c10 libc10.so)
_pan_torch_library(pan_torch_cpu libtorch_cpu.so)
add_library(pan_torch INTERFACE)
target_include_directories(pan_torch SYSTEM INTERFACE
  ${_torch_root}/include ${_torch_root}/include/torch/csrc/api/include)
target_link_libraries(pan_torch INTERFACE pan_torch_cpu pan_torch_c10)
target_link_options(pan_torch INTERFACE -Wl,-rpath-link,${LIBTORCH_LIB_DIR} -Wl,--allow-shlib-undefined)
add_library(pan::torch ALIAS pan_torch)
if(PAN_CUDA)
  # Nothing refers to libtorch_cuda by symbol: it registers the CUDA side of ATen when it is loaded, so it must be linked even
  # where the linker thinks it is not needed. Its own dependencies (cuBLAS, cuDNN, ...) may be missing at link time.
  _pan_torch_library(pan_torch_cuda libtorch_cuda.so)
  _pan_torch_library(pan_torch_c10_cuda libc10_cuda.so)
  if(NOT EXISTS ${LIBTORCH_LIB_DIR}/libtorch_cuda.so)
    message(FATAL_ERROR "PAN_CUDA=ON, but ${LIBTORCH_LIB_DIR} has no libtorch_cuda.so: this LibTorch is for the CPU only. "
                        "Run PAN_CUDA=ON scripts/setup.sh, or point LIBTORCH at a LibTorch built for CUDA.")
  endif()
  target_link_options(pan_torch INTERFACE -Wl,--no-as-needed)
  target_link_libraries(pan_torch INTERFACE pan_torch_cuda pan_torch_c10_cuda)
endif()

# The wheel keeps the CUDA runtime libraries beside torch, in nvidia/*/lib; libtorch_cpu needs two of them.
get_filename_component(_site ${_torch_root} DIRECTORY)
file(GLOB _nvidia_lib_dirs ${_site}/nvidia/*/lib)
set(PAN_RUNTIME_LIB_DIRS ${LIBTORCH_LIB_DIR} ${_nvidia_lib_dirs})
list(JOIN PAN_RUNTIME_LIB_DIRS ":" PAN_RPATH)
set(CMAKE_BUILD_RPATH ${PAN_RUNTIME_LIB_DIRS})
set(CMAKE_INSTALL_RPATH ${PAN_RUNTIME_LIB_DIRS})
