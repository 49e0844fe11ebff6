// The main of every test program, compiled once.
#define CATCH_CONFIG_RUNNER  // version 2 compiles its sources where it sees this; version 3 links them
#include "catch.hpp"

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
