# cmake -D source=... -D binary=... -D generator=... [-D run=PROGRAM] [-D refused=REGEX]
#       -P build_and_run.cmake -- SETTING...
#
# Configures `source` with the SETTINGs, builds it and runs PROGRAM; or, given `refused`, expects that
# configuring fails with a message that matches.

set(settings "")
set(seen_separator FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(seen_separator)
    list(APPEND settings "${CMAKE_ARGV${i}}")
  elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
    set(seen_separator TRUE)
  endif()
endforeach()

file(REMOVE_RECURSE "${binary}")
set(configure "${CMAKE_COMMAND}" -G "${generator}" -S "${source}" -B "${binary}" ${settings})

if(refused)
  execute_process(
    COMMAND ${configure}
    RESULT_VARIABLE result
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  if(result EQUAL 0)
    message(FATAL_ERROR "configuring should have failed:\n${output}")
  elseif(NOT output MATCHES "${refused}")
    message(FATAL_ERROR "configuring should have failed with '${refused}', but said:\n${output}")
  endif()
  return()
endif()

execute_process(COMMAND ${configure} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${binary}" COMMAND_ERROR_IS_FATAL ANY)
if(run)
  file(MAKE_DIRECTORY "${binary}/run")
  execute_process(COMMAND "${binary}/${run}" WORKING_DIRECTORY "${binary}/run"
                  COMMAND_ERROR_IS_FATAL ANY)
endif()
