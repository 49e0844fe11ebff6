# Two ways to make a test: a program of Catch2 cases, and a shell script that looks at the library from outside.

# One main for every program: Catch2's own sources are the slowest thing to compile here.
add_library(fewbit_catch_main OBJECT "${CMAKE_CURRENT_LIST_DIR}/../tests/support/catch_main.cpp")
target_link_libraries(fewbit_catch_main PUBLIC Catch2::Catch2)
target_compile_features(fewbit_catch_main PUBLIC cxx_std_20)
target_compile_options(fewbit_catch_main PRIVATE -O0)

# And one copy of the kernels, which would take most of the time of every file.
add_library(fewbit_test_kernels OBJECT "${CMAKE_CURRENT_LIST_DIR}/../tests/support/kernels.cpp")
target_link_libraries(fewbit_test_kernels PRIVATE fewbit::fewbit fewbit_warnings)
target_compile_options(fewbit_test_kernels PRIVATE -O1 -UNDEBUG)

# fewbit_test_program(NAME [THREADS] GLOBS pattern...)
#
# Builds one program from every file that matches, and registers it once per instruction set ("best" is what the
# library picks by itself). With THREADS it is compiled with OpenMP, and registered once for one thread and once for two.
# Cases tagged [.long] run only under `ctest -C long`, and once: they go through the instruction sets by themselves. No
# files, no program.
function(fewbit_test_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "THREADS" "" "GLOBS")
  list(TRANSFORM arg_GLOBS PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/")
  file(GLOB sources CONFIGURE_DEPENDS ${arg_GLOBS})
  if(NOT sources)
    return()
  endif()

  add_executable(${name} ${sources} $<TARGET_OBJECTS:fewbit_catch_main> $<TARGET_OBJECTS:fewbit_test_kernels>)
  target_compile_definitions(${name} PRIVATE FEWBIT_KERNELS_ELSEWHERE)
  target_link_libraries(${name} PRIVATE fewbit::fewbit fewbit_warnings Catch2::Catch2)
  target_include_directories(${name} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
  # -O1 compiles in half the time of -O2, and asserts stay on whatever the build type says.
  target_compile_options(${name} PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O1> -UNDEBUG)
  set(threads "default")
  if(arg_THREADS)
    target_link_libraries(${name} PRIVATE OpenMP::OpenMP_CXX)
    set(threads 1 2)
    if(FEWBIT_SANITIZE) # what one thread does is sanitized in the other programs
      set(threads 2)
    endif()
  endif()

  set(has_long OFF)
  foreach(source IN LISTS sources)
    file(STRINGS "${source}" hits REGEX "\\[\\.long\\]")
    if(hits)
      set(has_long ON)
    endif()
  endforeach()

  foreach(isa IN LISTS FEWBIT_TEST_ISAS)
    foreach(count IN LISTS threads)
      set(test ${name}.${isa})
      # Unset is not the same as empty, so "best" says nothing at all.
      set(environment "")
      if(NOT isa STREQUAL "best")
        list(APPEND environment "FEWBIT_ISA=${isa}")
      endif()
      if(NOT count STREQUAL "default")
        string(APPEND test .threads${count})
        # clang's OpenMP never gives back what it keeps for its threads; every other program looks for leaks of ours.
        # Its own locks are not ThreadSanitizer's concern; how its threads join is told by its tool Archer.
        list(APPEND environment "OMP_NUM_THREADS=${count}" "ASAN_OPTIONS=detect_leaks=0"
             "TSAN_OPTIONS=ignore_noninstrumented_modules=1")
      endif()
      # What goes through every table by itself is run once. (A filter would let hidden cases in.)
      set(cases "")
      if(NOT isa STREQUAL "best")
        set(cases "~[.]~every table*")
      endif()
      add_test(NAME ${test} COMMAND ${name} ${cases})
      set_tests_properties(${test} PROPERTIES LABELS "unit" ENVIRONMENT "${environment}" TIMEOUT 600)
    endforeach()
  endforeach()
  if(has_long)
    add_test(NAME ${name}.long COMMAND ${name} "[long]" CONFIGURATIONS long)
    set_tests_properties(${name}.long PROPERTIES LABELS "long" TIMEOUT 7200)
  endif()
endfunction()

# fewbit_script_test(NAME SCRIPT file [LABEL label] [PROCESSORS n] [ARGUMENTS ...])
#
# Runs a script with the compiler and the Eigen of this build in its environment (tests/support/check.sh reads them).
# Exit status 77 means that this machine cannot run it.
function(fewbit_script_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SCRIPT;LABEL;PROCESSORS" "ARGUMENTS")
  if(NOT arg_LABEL)
    set(arg_LABEL structure)
  endif()
  if(NOT arg_PROCESSORS)
    set(arg_PROCESSORS 1)
  endif()
  get_target_property(eigen_dirs Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
  list(GET eigen_dirs 0 eigen_dir)
  add_test(NAME ${name} COMMAND sh "${CMAKE_CURRENT_SOURCE_DIR}/${arg_SCRIPT}" ${arg_ARGUMENTS})
  set_tests_properties(
    ${name}
    PROPERTIES LABELS "${arg_LABEL}"
               PROCESSORS ${arg_PROCESSORS}
               SKIP_RETURN_CODE 77
               TIMEOUT 900
               ENVIRONMENT
               "CXX=${CMAKE_CXX_COMPILER};EIGEN_INCLUDE=${eigen_dir};CMAKE=${CMAKE_COMMAND};CMAKE_GENERATOR=${CMAKE_GENERATOR};SCRATCH=${CMAKE_CURRENT_BINARY_DIR}/scratch/${name}")
endfunction()
