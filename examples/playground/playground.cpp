// The page's questions answered by the library: see playground.hpp. Each tab of the page has an object here.
#include "playground.hpp"

#include <fewbit/io/npy.hpp>

#include <new>
#include <stdexcept>
#include <string>

#include "demo.hpp"
#include "json.hpp"
#include "snap.hpp"
#include "weights.hpp"

namespace {

using example::Demo;
using example::JsonObject;
using example::Matrix;
using example::Own;
using example::Snap;
using example::View;

Demo& demo() {
  static Demo d;
  return d;
}
Snap& snap() {
  static Snap s;
  return s;
}

// Nothing, or why an act failed.
template <class Act>
std::string failure(Act&& act) {
  try {
    act();
    return {};
  } catch (const std::bad_alloc&) {
    return "fewbit: there is not enough memory for this matrix; use a smaller one";
  } catch (const std::exception& e) {
    return e.what();
  }
}

// The text of an answer, kept until the next one; or why there is none.
template <class Answer>
const char* answered(Answer&& answer) {
  static std::string text;
  if (const std::string error = failure([&] { text = answer(); }); !error.empty())
    text = JsonObject().text("error", error).str();
  return text.c_str();
}

template <class Load>
const char* take_own(Load&& load) {
  return answered([&] {
    Own& o = example::own();
    o.W.resize(0, 0), ++o.version;
    o.error = failure([&] {
      Matrix W = load();
      example::check_size(W.rows(), W.cols());
      o.W = std::move(W);
    });
    if (!o.error.empty()) throw std::runtime_error(o.error);
    return JsonObject().text("rows", std::to_string(o.W.rows())).text("cols", std::to_string(o.W.cols())).str();
  });
}

}  // namespace

const char* playground_own_text(const char* text) {
  return take_own([&] { return example::parse_weights(text); });
}
const char* playground_own_npy(const char* path) {
  return take_own([&]() -> Matrix { return fewbit::load_npy(path); });
}

const char* playground_demo(const char* view) {
  return answered([&] { return demo().answer(View(view)); });
}
const char* playground_predictions() {
  return answered([] { return demo().predictions(); });
}
const char* playground_cell(std::size_t k) {
  return answered([&] { return demo().cell(k); });
}
const std::uint8_t* playground_pixels(int which) { return demo().pixels(which); }
const std::uint8_t* playground_colour_bar(int errors, int width) { return demo().colour_bar(errors != 0, width); }

const char* playground_snap(const char* view) {
  return answered([&] { return snap().answer(View(view)); });
}
const float* playground_dot_positions() { return snap().dots().data(); }
std::size_t playground_dots() { return snap().dots().size() / 2; }
const char* playground_dot(std::size_t dot) {
  return answered([&] { return snap().dot(dot); });
}
