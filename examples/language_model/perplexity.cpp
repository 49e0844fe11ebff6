// The page's last table as a measurement: what each format and method costs the language model on text that it was not
// trained on, what it holds, and how fast it writes; and whether the order of methods is the one that is told of them.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <unistd.h>

#include "../support/table.hpp"
#include "methods.hpp"
#include "weights.hpp"

namespace {

using example::fixed;
using example::joined;
using example::Matrix;
using example::Parameters;
using example::QuantizedModel;
using example::Text;

constexpr const char* usage =
    "usage: perplexity [FOLDER] [--windows N] [--in-turn]\n\n"
    "FOLDER       holds weights/, held_out.txt and calibration.txt; the current folder if not given\n"
    "--windows N  reads N windows of 256 bytes, spread over the held-out text; 64 if not given\n"
    "--in-turn    calibrates each matrix on what the quantized ones before it leave, not on what the floats do\n";

constexpr std::size_t calibration_bytes = 32 * 256;
constexpr double nats_per_bit = std::numbers::ln2;

struct Options {
  std::filesystem::path folder = ".";
  std::size_t windows = 64;
  bool in_turn = false;
};

bool parse(int argc, char** argv, Options& o) {
  for (int k = 1; k < argc; ++k) {
    const std::string word = argv[k];
    if (word == "--in-turn") o.in_turn = true;
    else if (word == "--windows" && k + 1 < argc) {
      char* end = nullptr;
      const long windows = std::strtol(argv[++k], &end, 10);
      if (windows < 1 || *end != 0) return false;
      o.windows = static_cast<std::size_t>(windows);
    } else if (word[0] != '-') o.folder = word;
    else return false;
  }
  return true;
}

// The page's perplexity added by a format, a rule of thumb for large models, per token.
std::string rule_of_thumb(const std::string& format) {
  static const std::map<std::string, std::string> page{{"FP16", "~0.0"}, {"BF16", "~0.0"}, {"INT8", "~0.1"},
                                                       {"NF4", "~0.3"},  {"INT4", "~0.3"}, {"INT3", "~1.0"},
                                                       {"INT2", "~5.0+"}};
  const auto found = page.find(format);
  return found == page.end() ? "-" : found->second;
}

// Bytes a second, read one after the other as in generating.
double speed(const QuantizedModel& model, Text text) {
  const auto start = std::chrono::steady_clock::now();
  example::Reader reader(model);
  for (const std::uint8_t byte : text.first(static_cast<std::size_t>(model.shape.context))) reader.read(byte);
  return static_cast<double>(model.shape.context) /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// As many decimals as are the same on every machine: the more a model has lost, the more the last digits of its sums
// matter.
int decimals(double perplexity) { return perplexity < 3 ? 3 : perplexity < 5 ? 2 : 1; }

// With its sign, and none for what is rounded to nothing.
std::string signed_text(double x, int digits) {
  const std::string size = fixed(std::abs(x), digits);
  return size == fixed(0, digits) ? size : (x < 0 ? "-" : "+") + size;
}

class Measurement {
 public:
  Measurement(Text held_out, std::size_t windows) : held_out_(held_out), windows_(windows) {}

  void row(const std::string& format, const std::string& method, const QuantizedModel& model) {
    const double nats = nats_per_byte(model, held_out_, windows_), perplexity = std::exp(nats);
    if (perplexity_.empty()) of_floats_ = perplexity;
    perplexity_[format + method] = perplexity;
    const example::Held held = example::held(model);
    const double added = perplexity - of_floats_;
    const int digits = decimals(perplexity);
    table_.row({format, method, fixed(held.bits_per_weight, 3), std::to_string(held.bytes), fixed(perplexity, digits),
                perplexity_.size() == 1 ? "-" : signed_text(added, digits), rule_of_thumb(format),
                fixed(nats / nats_per_bit, 3), joined(fixed(speed(model, held_out_), 0), "/s")});
  }

  double operator()(const std::string& format, const std::string& method) const {
    return perplexity_.at(format + method);
  }
  double of_floats() const { return of_floats_; }
  const example::Table& table() const { return table_; }

 private:
  Text held_out_;
  std::size_t windows_;
  double of_floats_ = 0;
  std::map<std::string, double> perplexity_;
  example::Table table_{
      {"format", "method", "bits/weight", "bytes held", "perplexity", "added", "page", "bits/byte", "bytes written"}};
};

// The order that methods are told to have, and whether they have it here.
example::Table verdicts(const Measurement& measured) {
  example::Table table({"perplexity of", "is at most that of", "4 bits", "3 bits", "2 bits"});
  const std::pair<const char*, const char*> order[] = {{"MSE range", "round to nearest"},
                                                       {"HQQ", "round to nearest"},
                                                       {"HQQ", "MSE range"},
                                                       {"AWQ", "MSE range"},
                                                       {"GPTQ", "AWQ"},
                                                       {"GPTQ", "HQQ"},
                                                       {"GPTQ, refined", "GPTQ"}};
  for (const auto& [less, more] : order) {
    std::vector<std::string> cells{less, more};
    for (const char* format : {"INT4", "INT3", "INT2"})
      cells.push_back(measured(format, less) <= measured(format, more) ? "yes" : "no");
    table.row(cells);
  }
  const double worse = measured("INT8", "round to nearest") / measured.of_floats() - 1;
  table.note(joined("INT8, rounded to nearest, is within .5% of FP32: ", worse <= 0.005 ? "yes" : "no"));
  return table;
}

int run(const Options& o) {
  const Parameters<float> model = example::load_parameters(o.folder / "weights");
  const auto least = static_cast<std::size_t>(model.shape.context) + 1;
  const auto held_out = example::read_text(o.folder / "held_out.txt", o.windows * (least - 1) + 1);
  const auto training = example::read_text(o.folder / "calibration.txt", calibration_bytes);
  const Text calibration = Text(training).first(calibration_bytes);

  const auto methods = example::all_methods();
  const std::vector<std::string> trained{"INT3", "INT2", "ternary"};
  const bool watched = isatty(STDERR_FILENO) != 0;
  std::size_t done = 0;
  const auto progress = [&](const std::string& format, const std::string& method) {
    if (watched)
      std::fprintf(stderr, "\r\x1b[K%zu of %zu: %s %s", ++done, methods.size() + trained.size(), format.c_str(),
                   method.c_str());
  };

  const std::vector<example::LayerInputs> inputs = example::inputs_of(model, calibration);
  Measurement measured(held_out, o.windows);
  for (std::size_t k = 0; k < methods.size(); ++k) {
    const auto& [format, method, quantize] = methods[k];
    progress(format, method);
    measured.row(format, method,
                 o.in_turn ? quantized_in_turn(model, calibration, quantize) : quantized(model, inputs, quantize));
    const bool is_last = k + 1 == methods.size() || methods[k + 1].format != format;
    if (!is_last || std::find(trained.begin(), trained.end(), format) == trained.end()) continue;
    progress(format, "QAT");
    measured.row(format, "QAT", example::trained(model, inputs, training, format));
  }
  if (watched) std::fprintf(stderr, "\r\x1b[K");
  std::cout << measured.table() << '\n' << verdicts(measured);
  return measured("INT8", "round to nearest") <= 1.005 * measured.of_floats() ? EXIT_SUCCESS : EXIT_FAILURE;
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
