#pragma once
// What the page asks the library, in C, so that a program and a browser call the same functions. Rule: text goes in and
// JSON comes out, every number in it already rounded and written; an exception becomes {"error": its message}. What is
// returned stays valid until the next call.
//
// A view is what the page keeps behind the # of its address, "weights=normal&shape=64x64&bits=4"; what it leaves out
// has its default. native.cpp prints the answers, playground.cpp lists the keys.

#include <cstddef>
#include <cstdint>

extern "C" {

// Weights of the user's, for views with weights=own: numbers as text, or a .npy file by its path.
const char* playground_own_text(const char* text);
const char* playground_own_npy(const char* path);

// One matrix and one way to quantize it: errors, sizes, ranges.
const char* playground_demo(const char* view);
// Of the matrix of the last playground_demo: the document's five predictions, each with what was measured.
const char* playground_predictions();
// One of its weights, by its place in row-major order.
const char* playground_cell(std::size_t k);
// Its picture, RGBA: 0 weights, 1 what they decode to, 2 errors. Width and height stand in the answer to the view.
const std::uint8_t* playground_pixels(int which);
// A bar of `width` colours, from the lowest weight to the highest, or from the lowest error to the highest.
const std::uint8_t* playground_colour_bar(int errors, int width);

// The same weights under every codebook of a width: where the levels lie, and what each costs.
const char* playground_snap(const char* view);
// Of the last playground_snap, some weights: pairs of where a weight lies and where its level does, as shares of the
// largest magnitude of its group. `playground_dots` says how many pairs.
const float* playground_dot_positions();
std::size_t playground_dots();
// One of these weights in words: weight, code, level, error.
const char* playground_dot(std::size_t dot);
}
