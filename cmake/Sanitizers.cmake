# LibTorch is not instrumented, so ASan's container-overflow check must be off at run time (see scripts/test.sh).
if(PAN_SANITIZE)
  add_compile_options(-fsanitize=${PAN_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined -g1)
  add_link_options(-fsanitize=${PAN_SANITIZE})
endif()
