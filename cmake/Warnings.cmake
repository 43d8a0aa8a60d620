# Warnings are errors in our own code; third-party headers come in as system headers. A compiler that the code was not
# tried with may warn of more, and nobody should be kept from building by that.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12
   AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 15)
  set(errors -Werror)
else()
  message(STATUS "warnings are not errors: ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} is not one of the compilers this was tried with (GCC 12 to 14)")
endif()
add_library(pan_warnings INTERFACE)
target_compile_options(pan_warnings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;${errors}>"
  $<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings>
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler -Wall,-Wextra>")
