# The warnings this repository keeps to. Never linked to the library, so no user sees them.

add_library(fewbit_warnings INTERFACE)
target_compile_options(
  fewbit_warnings
  INTERFACE -Wall
            -Wextra
            -Wpedantic
            -Wshadow
            -Wconversion
            -Wsign-conversion
            -Wcast-qual
            -Wnon-virtual-dtor
            # A vector argument that crosses a boundary between instruction sets.
            -Werror=psabi
            $<$<BOOL:${FEWBIT_WERROR}>:-Werror>)
