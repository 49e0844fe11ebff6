// Lets the language model go on with a text at each width, so that the damage can be read: the same chances are drawn
// for all, so texts part where quantization has changed the odds.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>

#include "../support/table.hpp"
#include "methods.hpp"
#include "weights.hpp"

namespace {

using example::Index;
using example::QuantizedModel;
using example::Text;

constexpr const char* usage =
    "usage: generate [FOLDER] [--prompt TEXT] [--length N] [--temperature T] [--seed N]\n\n"
    "FOLDER           holds weights/ and calibration.txt; the current folder if not given\n"
    "--prompt TEXT    what the text begins with\n"
    "--length N       bytes to write, 200 if not given\n"
    "--temperature T  0 takes the likeliest byte each time, 1 each as often as the model expects it; .6 if not given\n"
    "--seed N         chances to draw, 1 if not given\n";

struct Options {
  std::filesystem::path folder = ".";
  std::string prompt = "And it came to pass in those days, that ";
  std::size_t length = 200;
  float temperature = 0.6f;
  std::uint64_t seed = 1;
};

// A number, and nothing else.
template <class T>
bool read_number(const char* text, T& to) {
  std::istringstream in(text);
  return *text != '-' && in >> to && in.peek() == std::istringstream::traits_type::eof();
}

bool parse(int argc, char** argv, Options& o) {
  for (int k = 1; k < argc; ++k) {
    const std::string word = argv[k];
    const bool has_value = k + 1 < argc;
    if (word == "--prompt" && has_value) o.prompt = argv[++k];
    else if (word == "--length" && has_value && read_number(argv[k + 1], o.length)) ++k;
    else if (word == "--temperature" && has_value && read_number(argv[k + 1], o.temperature)) ++k;
    else if (word == "--seed" && has_value && read_number(argv[k + 1], o.seed)) ++k;
    else if (!word.empty() && word[0] != '-') o.folder = word;
    else return false;
  }
  return !o.prompt.empty() && o.temperature >= 0;
}

// The byte at which the chances, added up, pass `chance`.
std::uint8_t drawn(Eigen::VectorXf logits, float temperature, double chance) {
  Index likeliest = 0;
  const float most = logits.maxCoeff(&likeliest);
  if (temperature == 0) return static_cast<std::uint8_t>(likeliest);
  const Eigen::VectorXd weights = ((logits.array() - most) / temperature).exp().cast<double>();
  double left = chance * weights.sum();
  Index byte = 0;
  for (; byte + 1 < weights.size() && left >= weights[byte]; ++byte) left -= weights[byte];
  return static_cast<std::uint8_t>(byte);
}

// The prompt and what follows. Where the context ends, its later half is read again and the text goes on.
std::string continued(const QuantizedModel& model, const Options& o) {
  std::string text = o.prompt;
  example::Reader reader(model);
  Eigen::VectorXf logits;
  const auto read_from = [&](std::size_t first) {
    for (std::size_t k = first; k < text.size(); ++k) logits = reader.read(static_cast<std::uint8_t>(text[k]));
  };
  const auto half = static_cast<std::size_t>(model.shape.context / 2);
  const auto start_again = [&] {
    reader = example::Reader(model);
    read_from(text.size() - std::min(text.size(), half));
  };
  if (text.size() <= half) read_from(0);
  else start_again();
  for (std::size_t k = 0; k < o.length; ++k) {
    const double chance = static_cast<double>(example::mixed(o.seed, k) >> 11) * 0x1p-53;
    text += static_cast<char>(drawn(logits, o.temperature, chance));
    if (reader.room() > 0) read_from(text.size() - 1);
    else start_again();
  }
  return text;
}

// Lines of a terminal's width; what cannot be printed as a point.
void print(const std::string& text) {
  constexpr std::size_t width = 100;
  std::size_t column = 0;
  for (std::size_t k = 0; k < text.size(); ++k) {
    const char c = text[k];
    const std::size_t word = text.find_first_of(" \n", k + 1) - k;
    if (c == '\n' || (c == ' ' && column + std::min<std::size_t>(word, 40) > width)) {
      std::cout << '\n';
      column = 0;
    } else {
      std::cout << (c >= ' ' && c <= '~' ? c : '.');
      ++column;
    }
  }
  std::cout << "\n\n";
}

int run(const Options& o) {
  const auto model = example::load_parameters(o.folder / "weights");
  constexpr std::size_t calibration_bytes = 32 * 256;
  const auto calibration = example::read_text(o.folder / "calibration.txt", calibration_bytes);
  const auto inputs = example::inputs_of(model, Text(calibration).first(calibration_bytes));
  const auto wanted = [](const example::Named& m) {
    return m.method == "as trained" || (m.method == "round to nearest" && m.format.rfind("INT", 0) == 0) ||
           m.method == "scale mean|w|" ||
           (m.method == "GPTQ, refined" && (m.format == "INT2" || m.format == "ternary"));
  };
  for (const example::Named& m : example::all_methods()) {
    if (!wanted(m)) continue;
    const QuantizedModel q = quantized(model, inputs, m.quantize);
    const auto start = std::chrono::steady_clock::now();
    const std::string text = continued(q, o);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::cout << m.format << ", " << m.method << ", " << example::fixed(held(q).bits_per_weight, 2)
              << " bits a weight, " << example::fixed(static_cast<double>(text.size()) / seconds, 0) << " bytes/s\n";
    print(text);
  }
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::cerr << usage;
    return 2;
  }
  try {
    return run(options);
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return EXIT_FAILURE;
  }
}
