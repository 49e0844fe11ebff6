// A fuzz target as an ordinary test: every file of its corpus, and for each file that is called seed_* every truncation
// and every single bit flipped. With any compiler, and with no fuzzer.
//
//   fuzz_npy FOLDER    all of that        fuzz_npy FILE..    these inputs as they are

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;
using Input = std::vector<std::uint8_t>;

// What runs now, for the signal that ends it.
std::string name;
Input input;
std::size_t ran = 0;

// A broken law, a sanitizer and a forbidden page all end here. Nothing is allocated, so that this much can still be
// said.
void say_which(int signal) {
  std::fprintf(stderr, "%s breaks it; in hex, %zu bytes:\n", name.c_str(), input.size());
  for (const std::uint8_t byte : input) std::fprintf(stderr, "%02x", unsigned{byte});
  std::fprintf(stderr, "\n");
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void run(const std::string& what, const Input& bytes) {
  name = what, input = bytes;
  LLVMFuzzerTestOneInput(input.data(), input.size());
  ++ran;
}

Input read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    std::fprintf(stderr, "%s cannot be read\n", path.string().c_str());
    std::exit(2);
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

void run_changed(const std::string& what, const Input& seed) {
  for (std::size_t n = 0; n < seed.size(); ++n)
    run(what + " cut to " + std::to_string(n), {seed.begin(), seed.begin() + static_cast<std::ptrdiff_t>(n)});
  Input changed = seed;
  for (std::size_t bit = 0; bit < 8 * seed.size(); ++bit) {
    const auto mask = static_cast<std::uint8_t>(1u << bit % 8);
    changed[bit / 8] ^= mask;
    run(what + " with bit " + std::to_string(bit) + " flipped", changed);
    changed[bit / 8] ^= mask;
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE}) std::signal(signal, say_which);
  std::size_t seeds = 0;
  bool is_corpus = false;
  for (int i = 1; i < argc; ++i) {
    if (!fs::is_directory(argv[i])) {
      run(argv[i], read(argv[i]));
      continue;
    }
    is_corpus = true;
    std::vector<fs::path> files(fs::directory_iterator(argv[i]), fs::directory_iterator{});
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      const Input bytes = read(file);
      run(file.string(), bytes);
      if (file.filename().string().rfind("seed_", 0) != 0) continue;
      run_changed(file.string(), bytes);
      ++seeds;
    }
  }
  std::printf("%zu inputs, all that can be cut or flipped out of %zu seeds among them\n", ran, seeds);
  if (ran > 0 && (seeds > 0 || !is_corpus)) return 0;
  std::fprintf(stderr, "nothing was run: give the folder of a corpus with seeds in it, or files\n");
  return 1;
}
