#pragma once
// A trained model as a folder of .npy files, one for each tensor, and texts as bytes. Rule: a file that is missing, cut
// off or of another shape is named, with what was expected of it.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include <fewbit/io/npy.hpp>

#include "model.hpp"

namespace example {

// Throws std::runtime_error for a file that cannot be read.
inline std::vector<std::uint8_t> read_text(const std::filesystem::path& path, std::size_t least) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path.string() + " cannot be opened; check the path and its permissions");
  std::vector<std::uint8_t> text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (text.size() < least)
    throw std::runtime_error(path.string() + " has " + std::to_string(text.size()) + " bytes; at least " +
                             std::to_string(least) + " are needed");
  return text;
}

// Throws std::runtime_error naming the file.
inline Parameters<float> load_parameters(const std::filesystem::path& folder, const Shape& shape = {}) {
  Parameters<float> p = zero_parameters<float>(shape);
  each_tensor(p, [&](const std::string& name, Matrix<float>& to) {
    const std::filesystem::path path = folder / (name + ".npy");
    const Matrix<float> m = fewbit::load_npy(path);
    if (m.rows() != to.rows() || m.cols() != to.cols())
      throw std::runtime_error(path.string() + " is " + std::to_string(m.rows()) + " x " + std::to_string(m.cols()) +
                               ", where this model has " + std::to_string(to.rows()) + " x " +
                               std::to_string(to.cols()));
    if (!m.allFinite()) throw std::runtime_error(path.string() + " holds a number that is not finite");
    to = m;
  });
  return p;
}

inline void save_parameters(const std::filesystem::path& folder, const Parameters<float>& p) {
  std::filesystem::create_directories(folder);
  each_tensor(p,
              [&](const std::string& name, const Matrix<float>& m) { fewbit::save_npy(folder / (name + ".npy"), m); });
}

}  // namespace example
