# The CUDA toolkit for kernels/cuda: nvcc for two architectures (A100 and H100/H200; the second also as PTX for what comes
# later), the runtime library that LibTorch itself loads. No GPU or driver is needed to build.
if(NOT CMAKE_CUDA_COMPILER)
  find_program(PAN_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
  if(NOT PAN_NVCC)
    message(FATAL_ERROR "PAN_CUDA=ON needs the CUDA toolkit, and nvcc was not found in PATH, CUDA_HOME or /usr/local/cuda. "
                        "Install the toolkit (13.0), or configure with -DPAN_CUDA=OFF.")
  endif()
  set(CMAKE_CUDA_COMPILER ${PAN_NVCC})
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90 CACHE STRING "GPU architectures to compile for")
endif()
if(PAN_CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${PAN_CCACHE})
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
enable_language(CUDA)
# cmake 3.25 does not know how nvcc 13 spells C++20.
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")
# Source lines for compute-sanitizer and the profiler, at no cost in speed; the sizes of device/jobs.h are constexpr for both sides.
set(CMAKE_CUDA_FLAGS "${CMAKE_CUDA_FLAGS} -lineinfo --expt-relaxed-constexpr")

add_library(pan_cuda_runtime INTERFACE)
target_include_directories(pan_cuda_runtime SYSTEM INTERFACE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
find_library(PAN_CUDART NAMES libcudart.so.13 libcudart.so.12 cudart HINTS ${PAN_RUNTIME_LIB_DIRS}
             ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} NO_DEFAULT_PATH)
if(NOT PAN_CUDART)
  message(FATAL_ERROR "the CUDA runtime (libcudart.so) is neither beside LibTorch nor in the toolkit ${PAN_NVCC}")
endif()
target_link_libraries(pan_cuda_runtime INTERFACE ${PAN_CUDART})
message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}, runtime ${PAN_CUDART}")
