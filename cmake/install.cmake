# install(): headers, and a package that find_package(fewbit) finds from wherever the tree was moved to.

include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/fewbit")

install(
  DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/fewbit"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING
  PATTERN "*.hpp")
install(TARGETS fewbit EXPORT fewbit-targets)
install(
  EXPORT fewbit-targets
  NAMESPACE fewbit::
  DESTINATION "${package_dir}")

configure_package_config_file(
  "${CMAKE_CURRENT_SOURCE_DIR}/cmake/fewbit-config.cmake.in" "${CMAKE_CURRENT_BINARY_DIR}/fewbit-config.cmake"
  INSTALL_DESTINATION "${package_dir}"
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
  "${CMAKE_CURRENT_BINARY_DIR}/fewbit-config-version.cmake"
  COMPATIBILITY SameMinorVersion # before 1.0 a minor version may break
  ARCH_INDEPENDENT)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/fewbit-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/fewbit-config-version.cmake" DESTINATION "${package_dir}")
install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/fewbit")
