# Finds xxHash's header: by its config package, or, as Debian ships none, by pkg-config or as it lies.
# Defines xxHash::xxhash.

find_package(xxHash CONFIG QUIET)
if(NOT TARGET xxHash::xxhash)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(PC_xxHash QUIET libxxhash)
  endif()
  find_path(xxHash_INCLUDE_DIR xxhash.h HINTS ${PC_xxHash_INCLUDEDIR} ${PC_xxHash_INCLUDE_DIRS})
  mark_as_advanced(xxHash_INCLUDE_DIR)
  if(xxHash_INCLUDE_DIR)
    file(STRINGS "${xxHash_INCLUDE_DIR}/xxhash.h" xxHash_version
         REGEX "^#[ ]*define XXH_VERSION_(MAJOR|MINOR|RELEASE)")
    list(TRANSFORM xxHash_version REPLACE ".*[^0-9]([0-9]+).*" "\\1")
    list(JOIN xxHash_version "." xxHash_VERSION)
  endif()
endif()

include(FindPackageHandleStandardArgs)
if(xxHash_CONFIG)
  find_package_handle_standard_args(xxHash CONFIG_MODE)
else()
  find_package_handle_standard_args(
    xxHash
    REQUIRED_VARS xxHash_INCLUDE_DIR
    VERSION_VAR xxHash_VERSION)
  if(xxHash_FOUND)
    add_library(xxHash::xxhash INTERFACE IMPORTED)
    set_target_properties(xxHash::xxhash PROPERTIES INTERFACE_INCLUDE_DIRECTORIES
                                                    "${xxHash_INCLUDE_DIR}")
  endif()
endif()
