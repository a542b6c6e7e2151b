# The one place where a library of varve is made, exported and installed.
#
#   varve_add_component(<name> TARGET <target> DESCRIPTION <text>
#                       SOURCES <file>... HEADERS <file>...
#                       [REQUIRES <component>...]               components that come with this one
#                       [FIND_DEPENDENCIES <package>...]        what its users must find
#                       [FIND_STATIC_DEPENDENCIES <package>...] ... when it is a static library
#                       [FIND_MODULES <file>...]                of cmake/, to find them by
#                       [PKG_CONFIG_STATIC_REQUIRES <module>...] [PKG_CONFIG_LIBS <flag>...])
#
# makes <target>, known as varve::<name> here and to find_package(varve COMPONENTS <name>). Static or
# shared is BUILD_SHARED_LIBS' choice.
#
#   varve_install_package()
#
# installs what makes find_package(varve) work; call it once, after the components.

include_guard()

# Part of every shared library's name: an ABI is kept within a minor version until 1.0.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(varve_soversion "0.${PROJECT_VERSION_MINOR}")
else()
  set(varve_soversion "${PROJECT_VERSION_MAJOR}")
endif()

function(varve_add_component name)
  cmake_parse_arguments(
    PARSE_ARGV 1 arg "" "TARGET;DESCRIPTION"
    "SOURCES;HEADERS;REQUIRES;FIND_DEPENDENCIES;FIND_STATIC_DEPENDENCIES;FIND_MODULES;PKG_CONFIG_STATIC_REQUIRES;PKG_CONFIG_LIBS"
  )
  set(target ${arg_TARGET})

  add_library(${target} ${arg_SOURCES})
  add_library(varve::${name} ALIAS ${target})
  target_sources(
    ${target} PUBLIC FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES
                     ${arg_HEADERS})
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(
    ${target}
    PROPERTIES EXPORT_NAME ${name}
               LINKER_LANGUAGE CXX
               CXX_EXTENSIONS OFF
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               VERSION ${PROJECT_VERSION}
               SOVERSION ${varve_soversion})
  varve_set_warnings(${target})

  get_target_property(type ${target} TYPE)
  if(type STREQUAL "SHARED_LIBRARY")
    target_compile_definitions(${target} PUBLIC VARVE_SHARED)
  endif()

  if(VARVE_INSTALL)
    varve_install_component()
  endif()
endfunction()

# Uses the variables of varve_add_component, the only caller.
macro(varve_install_component)
  include(GNUInstallDirs)
  set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/varve")

  install(
    TARGETS ${target}
    EXPORT varve-${name}
    RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(
    EXPORT varve-${name}
    FILE varve-${name}-targets.cmake
    NAMESPACE varve::
    DESTINATION "${package_dir}")

  set(dependencies ${arg_FIND_DEPENDENCIES})
  if(type STREQUAL "STATIC_LIBRARY")
    list(APPEND dependencies ${arg_FIND_STATIC_DEPENDENCIES})
  endif()
  list(TRANSFORM dependencies REPLACE "(.+)" "find_dependency(\\1)\n")
  set(load_required "")
  foreach(required IN LISTS arg_REQUIRES)
    foreach(part IN ITEMS dependencies targets)
      string(APPEND load_required
             "include(\"\${CMAKE_CURRENT_LIST_DIR}/varve-${required}-${part}.cmake\")\n")
    endforeach()
  endforeach()
  foreach(module IN LISTS arg_FIND_MODULES)
    install(FILES "${PROJECT_SOURCE_DIR}/cmake/${module}" DESTINATION "${package_dir}")
  endforeach()
  set(dependencies_file "${PROJECT_BINARY_DIR}/varve-${name}-dependencies.cmake")
  file(WRITE "${dependencies_file}" ${load_required} ${dependencies})
  install(FILES "${dependencies_file}" DESTINATION "${package_dir}")

  # One .pc file a component; core's is varve.pc.
  if(name STREQUAL "core")
    set(pc_name varve)
  else()
    set(pc_name varve-${name})
  endif()
  set(pc_description "${arg_DESCRIPTION}")
  list(TRANSFORM arg_REQUIRES PREPEND "varve-" OUTPUT_VARIABLE pc_requires)
  list(TRANSFORM pc_requires REPLACE "^varve-core$" "varve")
  list(JOIN pc_requires ", " pc_requires)
  list(JOIN arg_PKG_CONFIG_STATIC_REQUIRES ", " pc_requires_private)
  list(JOIN arg_PKG_CONFIG_LIBS " " pc_libs)
  set(pc_libs "-l${target} ${pc_libs}")
  set(pc_cflags "")
  if(type STREQUAL "SHARED_LIBRARY")
    set(pc_requires_private "")
    set(pc_cflags "-DVARVE_SHARED")
  endif()
  # Relative to where the .pc file lies, so that an installed varve can be moved.
  set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
  cmake_path(IS_RELATIVE CMAKE_INSTALL_LIBDIR relocatable)
  if(relocatable)
    file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    string(REGEX REPLACE "/$" "" up "${up}")
    set(pc_prefix "\${pcfiledir}/${up}")
  endif()
  foreach(dir IN ITEMS LIBDIR INCLUDEDIR)
    cmake_path(APPEND pc_${dir} "\${prefix}" "${CMAKE_INSTALL_${dir}}")
  endforeach()
  configure_file("${PROJECT_SOURCE_DIR}/cmake/varve.pc.in" "${PROJECT_BINARY_DIR}/${pc_name}.pc"
                 @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${pc_name}.pc"
          DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endmacro()

function(varve_install_package)
  include(GNUInstallDirs)
  include(CMakePackageConfigHelpers)
  set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/varve")
  configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/varveConfig.cmake.in" "${PROJECT_BINARY_DIR}/varveConfig.cmake"
    INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO)
  write_basic_package_version_file(
    "${PROJECT_BINARY_DIR}/varveConfigVersion.cmake"
    VERSION ${PROJECT_VERSION}
    COMPATIBILITY SameMinorVersion)
  install(FILES "${PROJECT_BINARY_DIR}/varveConfig.cmake"
                "${PROJECT_BINARY_DIR}/varveConfigVersion.cmake" DESTINATION "${package_dir}")
endfunction()
