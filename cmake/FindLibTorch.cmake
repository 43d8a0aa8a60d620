# Imported targets for LibTorch: pan::torch (CPU libraries, and CUDA ones with PAN_CUDA).
# The folder is -DLIBTORCH=DIR, else the environment variable LIBTORCH, else the Python wheel in .deps/. It is decided anew at
# every configure: only what -D says is remembered, and -DLIBTORCH= forgets it.
# find_package(Torch) is not used: it needs a CUDA toolkit for a CUDA wheel and changes global flags.
set(PAN_LIBTORCH_SERIES 2.11)
set(LIBTORCH "" CACHE PATH "LibTorch folder (holds include/ and lib/); empty: the environment variable LIBTORCH, else .deps/")
if(LIBTORCH)
  set(_torch_root ${LIBTORCH})
elseif(NOT "$ENV{LIBTORCH}" STREQUAL "")
  set(_torch_root $ENV{LIBTORCH})
else()
  file(GLOB _torch_root ${CMAKE_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages/torch)
  list(SUBLIST _torch_root 0 1 _torch_root)
endif()
if(NOT _torch_root OR NOT EXISTS ${_torch_root}/include/ATen/ATen.h)
  message(FATAL_ERROR "LibTorch was not found (looked in '${_torch_root}'). Run scripts/setup.sh, or set LIBTORCH=DIR "
                      "to a LibTorch ${PAN_LIBTORCH_SERIES} folder that holds include/ and lib/.")
endif()
set(_v "")
foreach(_header IN ITEMS torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(NOT _v AND EXISTS ${_torch_root}/include/${_header})
    file(STRINGS ${_torch_root}/include/${_header} _v REGEX "TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+$")
  endif()
endforeach()
string(REGEX REPLACE "[^0-9;]" "" _v "${_v}")
string(REPLACE ";" "." LIBTORCH_VERSION "${_v}")
string(REPLACE "." "\\." _series ${PAN_LIBTORCH_SERIES})
if(NOT LIBTORCH_VERSION MATCHES "^${_series}\\.")
  if(NOT LIBTORCH_VERSION)
    set(LIBTORCH_VERSION "of an unknown version")
  endif()
  message(FATAL_ERROR "${_torch_root} is LibTorch ${LIBTORCH_VERSION}, and pan-ppo needs ${PAN_LIBTORCH_SERIES}: its headers "
                      "and its numbers differ from release to release. Set LIBTORCH=DIR to a LibTorch "
                      "${PAN_LIBTORCH_SERIES}, or unset it and run scripts/setup.sh, which installs one.")
endif()
set(LIBTORCH_ROOT ${_torch_root})
set(LIBTORCH_LIB_DIR ${_torch_root}/lib)
message(STATUS "LibTorch ${LIBTORCH_VERSION}: ${_torch_root}")
if(NOT "${PAN_LIBTORCH_BEFORE}" STREQUAL "${_torch_root}")
  unset(PAN_CUDART CACHE)  # found beside the other LibTorch
  set(PAN_LIBTORCH_BEFORE ${_torch_root} CACHE INTERNAL "LibTorch of the last configure")
endif()

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
