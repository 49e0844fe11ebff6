// The Practical Impact, memory: what the page's formats take, and what real models take in them, scales and everything
// else counted, with the smallest of the page's machines that holds them. Perplexities are in language_model/.
#include <fewbit/fewbit.hpp>

#include <functional>
#include <iostream>

#include "../support/figures.hpp"
#include "../support/numpy_random.hpp"

namespace {

using fewbit::Index;
using fewbit::RowMajorMatrixXf;

constexpr double gib = 1024. * 1024 * 1024;

// The page's machines, and what they hold: the memory of the cards by their makers, the smallest M1 Mac.
struct Machine {
  const char* name;
  int count, memory;  // GiB each
  double bytes() const { return count * memory * gib; }
};
const Machine machines[] = {{"4 GB GPU", 1, 4},        {"M1 Mac 8 GB", 1, 8},     {"RTX 3060 12 GB", 1, 12},
                            {"RTX 4070 12 GB", 1, 12}, {"RTX 4090 24 GB", 1, 24}, {"2x RTX 4090", 2, 24},
                            {"A100 80 GB", 1, 80},     {"2x A100", 2, 80}};
const Machine& machine(const std::string& name) {
  for (const Machine& m : machines)
    if (name == m.name) return m;
  throw std::logic_error("no such machine: " + name);
}
std::string smallest(double bytes) {
  for (const Machine& m : machines)
    if (bytes <= m.bytes()) return m.name;
  return "none";
}

// Llama 2 (arXiv 2307.09288): its layer shapes. What is rounded are the seven matrices of each layer; embedding, output
// and norms stay at 16 bits.
struct Model {
  const char* name;
  Index layers, width, inner, key_width, vocabulary = 32000;

  struct Shape {
    Index rows, cols, count;
  };
  std::vector<Shape> matrices() const {
    return {
        {width, width, 2 * layers}, {key_width, width, 2 * layers}, {inner, width, 2 * layers}, {width, inner, layers}};
  }
  double others() const { return static_cast<double>(2 * vocabulary * width + (2 * layers + 1) * width); }
  double weights() const {
    double sum = others();
    for (const Shape& m : matrices()) sum += static_cast<double>(m.rows * m.cols * m.count);
    return sum;
  }
  // Keys and values of this many tokens, at 16 bits.
  double cache(int tokens) const { return 2. * 2 * static_cast<double>(layers * key_width) * tokens; }
};
const Model models[] = {{"Llama-2-7B", 32, 4096, 11008, 4096},
                        {"Llama-2-13B", 40, 5120, 13824, 5120},
                        {"Llama-2-70B", 80, 8192, 28672, 1024}};

// What a format makes of some rows of a matrix: bytes held.
using Held = std::function<std::size_t(const RowMajorMatrixXf&)>;
struct Format {
  const char* name;
  Held held;
};
template <class G>
Held held_by(const G& grid, fewbit::Granularity granularity) {
  return [=](const RowMajorMatrixXf& w) { return fewbit::quantize(w, grid, granularity).bytes(); };
}
std::vector<Format> formats() {
  const auto f16 = fewbit::ScaleType::f16;
  const auto floats = [](std::size_t bytes) {
    return [=](const RowMajorMatrixXf& w) { return static_cast<std::size_t>(w.size()) * bytes; };
  };
  return {{"FP32", floats(4)},
          {"FP16, BF16", floats(2)},
          {"INT8, a scale per row", held_by(fewbit::Symmetric(8), fewbit::per_channel(f16))},
          {"INT8, groups of 128", held_by(fewbit::Symmetric(8), fewbit::per_group(128, f16))},
          {"NF4, groups of 64", held_by(fewbit::nf4, fewbit::per_group(64))},
          {"NF4, double quantized",
           [](const RowMajorMatrixXf& w) {
             return fewbit::double_quantize(fewbit::quantize(w, fewbit::nf4, fewbit::per_group(64))).bytes();
           }},
          {"INT4, a scale per row", held_by(fewbit::Symmetric(4), fewbit::per_channel(f16))},
          {"INT4, groups of 32", held_by(fewbit::Symmetric(4), fewbit::per_group(32, f16))},
          {"INT4, groups of 128", held_by(fewbit::Symmetric(4), fewbit::per_group(128, f16))},
          {"INT3, groups of 128", held_by(fewbit::Symmetric(3), fewbit::per_group(128, f16))},
          {"INT2, groups of 64, zero-points", held_by(fewbit::Asymmetric(2), fewbit::per_group(64, f16))},
          {"ternary, five to a byte", [](const RowMajorMatrixXf& w) {
             return fewbit::pack_ternary(
                        fewbit::quantize(w, fewbit::Symmetric(2), fewbit::per_channel(f16), fewbit::AbsMean{}))
                 .bytes();
           }}};
}

// Bytes of a model. How many a row takes does not depend on its weights, if they are not all alike: 256 rows stand for
// all.
double held(const Model& model, const Format& format) {
  double sum = model.others() * (std::string(format.name) == "FP32" ? 4 : 2);
  for (const Model::Shape& m : model.matrices()) {
    const RowMajorMatrixXf rows = example::NumpyRandom(42).normals(256, m.cols) * 0.02f;
    sum += static_cast<double>(format.held(rows)) / 256 * static_cast<double>(m.rows * m.count);
  }
  return sum;
}

std::string gigabytes(double bytes, int digits) {
  return example::joined(example::general(bytes / 1e9, digits), " GB");
}

}  // namespace

int main() {
  example::Figures figures("Blog, \"The Practical Impact\": memory");

  const auto codes = [](int bits) { return 7e9 * bits / 8; };
  struct Line {
    const char *format, *published, *on, *machine;
    int bits, digits;
  };
  for (const Line& line : {Line{"FP32", "28 GB", "2x RTX 4090", "2x RTX 4090", 32, 2},
                           Line{"FP16 / BF16", "14 GB", "1x RTX 4090", "RTX 4090 24 GB", 16, 2},
                           Line{"INT8", "7 GB", "RTX 4070", "RTX 4070 12 GB", 8, 2},
                           Line{"INT4 / NF4", "3.5 GB", "RTX 3060", "RTX 3060 12 GB", 4, 2},
                           Line{"INT3", "2.6 GB", "older 4GB GPUs", "4 GB GPU", 3, 2},
                           Line{"INT2", "1.75 GB", "any GPU", "4 GB GPU", 2, 3}}) {
    figures.published(example::joined("7B, ", line.format), line.published, gigabytes(codes(line.bits), line.digits));
    figures.published(example::joined("  fits on ", line.on), "yes",
                      codes(line.bits) <= machine(line.machine).bytes() ? "yes" : "no");
  }

  const std::vector<Format> all = formats();
  const auto find = [&](const std::string& name) -> const Format& {
    for (const Format& f : all)
      if (name == f.name) return f;
    throw std::logic_error("no such format: " + name);
  };
  const double fp32 = held(models[0], find("FP32"));
  figures.corrected("Llama-2-7B at FP32", "28 GB", "27.0 GB", example::joined(example::fixed(fp32 / 1e9, 1), " GB"));
  const double int4 = held(models[0], find("INT4, groups of 128")),
               seventy = held(models[2], find("INT4, groups of 128"));
  figures.corrected("4 bits, smaller than FP32", "8x", "7.0x", example::joined(example::fixed(fp32 / int4, 1), "x"));
  figures.corrected("Llama-2-7B at INT4, and 4096 tokens, on 4 GB", "", "no",
                    int4 + models[0].cache(4096) <= machine("4 GB GPU").bytes() ? "yes" : "no");
  figures.corrected("Llama-2-70B at INT4, and 4096 tokens, on one A100", "yes", "yes",
                    seventy + models[2].cache(4096) <= machine("A100 80 GB").bytes() ? "yes" : "no",
                    "A 7B model has 6.74e9 weights. Scales, and what stays at 16 bits, are counted here.");

  for (const Model& model : models) {
    example::Table table({example::joined(model.name, ", ", example::general(model.weights() / 1e9, 4), "e9 weights"),
                          "bits/weight", "GB", "fits on", "with 4096 tokens, GB", "fits on"});
    for (const Format& format : all) {
      const double bytes = held(model, format), with_cache = bytes + model.cache(4096);
      table.row({format.name, example::fixed(8 * bytes / model.weights(), 2), example::fixed(bytes / 1e9, 2),
                 smallest(bytes), example::fixed(with_cache / 1e9, 2), smallest(with_cache)});
    }
    table.note(
        "  GB are 10^9 bytes of weights, and of keys and values; a machine is taken to hold its GiB to the last byte.");
    figures.measured(std::move(table));
  }
  return figures.close();
}
