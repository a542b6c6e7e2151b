# An overlay port that builds the varve around it:
#
#   vcpkg install varve --overlay-ports=packaging/vcpkg/ports
#
# Elsewhere, replace the next line by vcpkg_from_github(... REF "v${VERSION}").
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../../../.." ABSOLUTE)

vcpkg_check_features(OUT_FEATURE_OPTIONS options FEATURES cli VARVE_BUILD_CLI compress
                     VARVE_WITH_COMPRESS)

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS -DVARVE_BUILD_TESTS=OFF -DVARVE_BUILD_EXAMPLES=OFF -DVARVE_INSTALL=ON ${options})
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/varve)
vcpkg_fixup_pkgconfig()
if("cli" IN_LIST FEATURES)
  vcpkg_copy_tools(TOOL_NAMES varve AUTO_CLEAN)
endif()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include")

file(INSTALL "${CURRENT_PORT_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
