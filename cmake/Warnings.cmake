# Warnings are errors in our own code; third-party headers come in as system headers.
add_library(pan_warnings INTERFACE)
target_compile_options(pan_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Werror>
  $<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings>
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler -Wall,-Wextra>")
