# varve_set_warnings(<target>): our warnings, for our own sources only. Nothing here is exported, and
# a project that embeds varve does not see them either.
function(varve_set_warnings target)
  if(NOT varve_IS_TOP_LEVEL)
    return()
  endif()
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    target_compile_options(
      ${target}
      PRIVATE -Wall
              -Wextra
              -Wpedantic
              -Wconversion
              -Wsign-conversion
              -Wshadow
              -Wnon-virtual-dtor
              -Wold-style-cast)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # Wrong about "literal" + std::string when optimizing: https://gcc.gnu.org/PR105651
    target_compile_options(${target} PRIVATE -Wno-restrict -Wno-stringop-overflow)
  endif()
  if(VARVE_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
