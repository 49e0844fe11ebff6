# Runs a program and compares what it writes, to standard output and standard error, with a recorded text.
#
#   cmake -DPROGRAM=... -DEXPECTED=FILE -DOUTPUT=FILE [-DARGUMENTS=a|b] [-DDIRECTORY=...] [-DSTATUS=0] [-DWITHOUT=REGEX]
#         [-DRECORD=ON] -P run_and_compare.cmake
#
# OUTPUT receives what was written. Text that matches WITHOUT is taken out first: what a recorded text cannot hold, like
# times. RECORD writes EXPECTED instead of comparing with it.
cmake_minimum_required(VERSION 3.16)

if(NOT DEFINED STATUS)
  set(STATUS 0)
endif()
if(NOT DEFINED DIRECTORY)
  get_filename_component(DIRECTORY "${OUTPUT}" DIRECTORY)
endif()
string(REPLACE "|" ";" ARGUMENTS "${ARGUMENTS}")

execute_process(
  COMMAND "${PROGRAM}" ${ARGUMENTS}
  WORKING_DIRECTORY "${DIRECTORY}"
  RESULT_VARIABLE status
  OUTPUT_VARIABLE written
  ERROR_VARIABLE written)
if(WITHOUT)
  string(REGEX REPLACE "${WITHOUT}" "" written "${written}")
endif()
file(WRITE "${OUTPUT}" "${written}")

if(RECORD)
  file(WRITE "${EXPECTED}" "${written}")
else()
  file(READ "${EXPECTED}" expected)
  if(NOT "${written}" STREQUAL "${expected}")
    find_program(DIFF diff)
    if(DIFF)
      execute_process(COMMAND "${DIFF}" -u "${EXPECTED}" "${OUTPUT}" OUTPUT_VARIABLE difference)
    else()
      set(difference "${written}")
    endif()
    message("${difference}")
    message(FATAL_ERROR "${PROGRAM}: exit status ${status}, and the output is not the recorded one, ${EXPECTED}")
  endif()
endif()
if(NOT "${status}" STREQUAL "${STATUS}")
  message(FATAL_ERROR "${PROGRAM}: exit status ${status} instead of ${STATUS}")
endif()
