# Finds zstd: by its config package, whose target's name depends on how it was built, or by pkg-config, or as it lies.
# Defines zstd::libzstd.

find_package(zstd CONFIG QUIET)
if(NOT TARGET zstd::libzstd)
  foreach(target IN ITEMS zstd::libzstd_shared zstd::libzstd_static)
    if(TARGET ${target} AND NOT TARGET zstd::libzstd)
      add_library(zstd::libzstd INTERFACE IMPORTED)
      set_target_properties(zstd::libzstd PROPERTIES INTERFACE_LINK_LIBRARIES ${target})
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
if(TARGET zstd::libzstd)
  find_package_handle_standard_args(zstd CONFIG_MODE)
else()
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(PC_zstd QUIET libzstd)
  endif()
  find_path(zstd_INCLUDE_DIR zstd.h HINTS ${PC_zstd_INCLUDE_DIRS})
  find_library(zstd_LIBRARY zstd HINTS ${PC_zstd_LIBRARY_DIRS})
  mark_as_advanced(zstd_INCLUDE_DIR zstd_LIBRARY)
  find_package_handle_standard_args(zstd REQUIRED_VARS zstd_LIBRARY zstd_INCLUDE_DIR)
  if(zstd_FOUND)
    add_library(zstd::libzstd UNKNOWN IMPORTED)
    set_target_properties(
      zstd::libzstd PROPERTIES IMPORTED_LOCATION "${zstd_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES
                                                                   "${zstd_INCLUDE_DIR}")
  endif()
endif()
