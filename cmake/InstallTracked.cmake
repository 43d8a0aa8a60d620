# pan_install_tracked(DESTINATION PATHS...): files and folders of the source tree, at their places below DESTINATION. In a git
# checkout only what is tracked, so that results of runs that lie beside it stay where they are.
function(pan_install_tracked destination)
  list(JOIN ARGN ";" paths)
  install(CODE "
    set(source \"${CMAKE_SOURCE_DIR}\")
    set(paths \"${paths}\")
    execute_process(COMMAND git ls-files -- \${paths} WORKING_DIRECTORY \${source}
                    OUTPUT_VARIABLE files OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(failed OR files STREQUAL \"\")
      set(files \"\")
      foreach(path IN LISTS paths)
        if(IS_DIRECTORY \${source}/\${path})
          file(GLOB_RECURSE below RELATIVE \${source} \${source}/\${path}/*)
          list(APPEND files \${below})
        else()
          list(APPEND files \${path})
        endif()
      endforeach()
    else()
      string(REPLACE \"\\n\" \";\" files \"\${files}\")
    endif()
    foreach(file IN LISTS files)
      get_filename_component(folder \${file} DIRECTORY)
      file(INSTALL DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${destination}/\${folder}\" TYPE FILE USE_SOURCE_PERMISSIONS
           FILES \"\${source}/\${file}\")
    endforeach()")
endfunction()
