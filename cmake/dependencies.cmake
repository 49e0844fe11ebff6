# What fewbit leans on. Only Eigen is a user's concern; the rest serves this repository alone.

# No version is asked for in the call: Eigen's own version file refuses every other major number, and 5 serves as well
# as 3.4.
if(NOT TARGET Eigen3::Eigen)
  find_package(Eigen3 CONFIG)
  if(NOT TARGET Eigen3::Eigen)
    message(FATAL_ERROR "fewbit: Eigen was not found. Install it (Debian: apt-get install libeigen3-dev), "
                        "point CMAKE_PREFIX_PATH at it, or define a target Eigen3::Eigen before adding fewbit")
  elseif(Eigen3_VERSION VERSION_LESS 3.4)
    message(FATAL_ERROR "fewbit: Eigen ${Eigen3_VERSION} is too old, 3.4 is the oldest that works")
  endif()
endif()

if(FEWBIT_BUILD_TESTS)
  find_package(Catch2 CONFIG QUIET)
  if(NOT TARGET Catch2::Catch2)
    message(FATAL_ERROR "fewbit: the tests need Catch2 (Debian: apt-get install catch2). "
                        "Install it, or configure with -DFEWBIT_BUILD_TESTS=OFF")
  endif()
  find_package(OpenMP COMPONENTS CXX QUIET)
endif()

if(FEWBIT_BUILD_BENCH)
  find_package(benchmark CONFIG QUIET)
endif()
