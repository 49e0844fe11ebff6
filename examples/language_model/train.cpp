// Trains the language model and writes its weights as .npy files. Shows its progress, keeps a checkpoint, goes on from
// it with --resume, and ends with the same bits as if it had not been interrupted.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "trainer.hpp"
#include "weights.hpp"

namespace {

using example::Index;
using example::Matrix;
using example::Parameters;
using example::Text;

constexpr const char* usage =
    "usage: train TRAIN.txt HELD_OUT.txt FOLDER [--steps N] [--stop-after N] [--seed N] [--resume]\n\n"
    "Writes the weights to FOLDER, and a checkpoint beside them every 250 steps and at an interrupt.\n"
    "--steps N       length of the whole course, 7000 if not given\n"
    "--stop-after N  ends at a checkpoint after step N of the course\n"
    "--seed N        first weights, and the order in which the text is read; 1 if not given\n"
    "--resume        goes on from the checkpoint\n";

constexpr Index sequences = 8, warm_up = 200, report_every = 50, checkpoint_every = 250;
constexpr double peak_rate = 4e-3, longest_gradient = 1;

volatile std::sig_atomic_t interrupted = 0;

struct Course {
  std::filesystem::path train, held_out, folder;
  Index steps = 7000, stop_after = -1;
  std::uint64_t seed = 1;
  bool resume = false;
};

bool parse(int argc, char** argv, Course& c) {
  std::vector<std::filesystem::path> paths;
  for (int k = 1; k < argc; ++k) {
    const std::string word = argv[k];
    const auto number = [&](auto& to) {
      char* end = nullptr;
      const unsigned long long value = k + 1 < argc ? std::strtoull(argv[++k], &end, 10) : 0;
      to = static_cast<std::remove_reference_t<decltype(to)>>(value);
      return end != nullptr && *end == 0 && end != argv[k];
    };
    if (word == "--resume") c.resume = true;
    else if (word == "--steps" ? !number(c.steps) : word == "--stop-after" ? !number(c.stop_after) : false)
      return false;
    else if (word == "--seed" && !number(c.seed)) return false;
    else if (word.rfind("--", 0) != 0) paths.emplace_back(word);
    else if (word != "--steps" && word != "--stop-after" && word != "--seed") return false;
  }
  if (paths.size() != 3 || c.steps < 1) return false;
  c.train = paths[0], c.held_out = paths[1], c.folder = paths[2];
  return true;
}

// Everything that training goes on from, in one file that appears whole or not at all: what the course is, how far it
// has come, weights and both moments.
struct Checkpoint {
  static constexpr char magic[8] = {'c', 'o', 'u', 'r', 's', 'e', ' ', '1'};
  struct Header {
    char magic[8];
    std::int64_t steps, taken;
    std::uint64_t seed, numbers;
  };
  std::filesystem::path path;

  template <class F>
  static void each(Parameters<float>& model, example::AdamW<float>& adam, F&& f) {
    for (auto* p : {&model, &adam.mean, &adam.square})
      each_tensor(*p, [&](const std::string&, Matrix<float>& m) {
        f(reinterpret_cast<char*>(m.data()), static_cast<std::streamsize>(sizeof(float)) * m.size());
      });
  }
  static Header header(const Course& c, Parameters<float>& model, example::AdamW<float>& adam) {
    Header h{{}, c.steps, adam.steps, c.seed, 0};
    std::memcpy(h.magic, magic, sizeof magic);
    each(model, adam, [&](const char*, std::streamsize n) { h.numbers += static_cast<std::uint64_t>(n) / 4; });
    return h;
  }

  void write(const Course& c, Parameters<float>& model, example::AdamW<float>& adam) const {
    const Header h = header(c, model, adam);
    std::filesystem::path beside = path;
    beside += ".part";
    std::ofstream out(beside, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&h), sizeof h);
    each(model, adam, [&](const char* bytes, std::streamsize n) { out.write(bytes, n); });
    out.close();
    if (!out) throw std::runtime_error(beside.string() + " cannot be written; is the disk full?");
    std::filesystem::rename(beside, path);
  }

  void read(const Course& c, Parameters<float>& model, example::AdamW<float>& adam) const {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error(path.string() + " cannot be opened; start without --resume");
    Header h{}, expected = header(c, model, adam);
    in.read(reinterpret_cast<char*>(&h), sizeof h);
    if (!in || std::memcmp(h.magic, magic, sizeof magic) != 0 || h.numbers != expected.numbers)
      throw std::runtime_error(path.string() + " is no checkpoint of this model; start without --resume");
    if (h.steps != c.steps || h.seed != c.seed)
      throw std::runtime_error(path.string() + " is of a course of " + std::to_string(h.steps) + " steps with seed " +
                               std::to_string(h.seed) + "; give the same --steps and --seed");
    each(model, adam, [&](char* bytes, std::streamsize n) { in.read(bytes, n); });
    if (!in || in.peek() != std::ifstream::traits_type::eof())
      throw std::runtime_error(path.string() + " is cut off or too long; start without --resume");
    adam.continue_from(h.taken);
  }
};

double bits(double nats) { return nats / std::numbers::ln2; }

int run(const Course& course) {
  const example::Shape shape;
  const auto length = static_cast<std::size_t>(shape.context);
  const auto text = example::read_text(course.train, 2 * length),
             held_out = example::read_text(course.held_out, 2 * length);
  std::filesystem::create_directories(course.folder);
  const Checkpoint checkpoint{course.folder / "checkpoint"};

  Parameters<float> model = example::first_parameters<float>(shape, course.seed), gradient = model;
  example::AdamW<float> adam(shape);
  Index weights = 0;
  each_tensor(model, [&](const std::string&, const Matrix<float>& m) { weights += m.size(); });
  if (course.resume) checkpoint.read(course, model, adam);
  std::printf("%td weights, %zu bytes to learn from; step %td of %td\n", weights, text.size(), adam.steps,
              course.steps);

  example::Differentiator<float> differentiate(shape);
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point t) {
    return std::chrono::duration<double>(Clock::now() - t).count();
  };
  const Index first = adam.steps,
              end = course.stop_after < 0 ? course.steps : std::min(course.steps, course.stop_after);
  const Clock::time_point start = Clock::now();
  double loss = 0, length_of_gradient = 0;
  Index since_report = 0;
  while (adam.steps < end && interrupted == 0) {
    loss += batch_gradient(differentiate, model, text, course.seed, adam.steps, sequences, gradient);
    length_of_gradient += example::clip(gradient, longest_gradient);
    adam.step(model, gradient, example::rate_at(adam.steps, course.steps, warm_up, peak_rate));
    ++since_report;
    const Index taken = adam.steps;
    if (taken % report_every == 0 || taken == end) {
      const double each = seconds_since(start) / static_cast<double>(taken - first);
      std::printf("step %5td  %.4f bits per byte  gradient %.2f  %6.0f bytes/s  %4.1f min left", taken,
                  bits(loss) / static_cast<double>(since_report),
                  length_of_gradient / static_cast<double>(since_report),
                  static_cast<double>(sequences * shape.context) / each, each * static_cast<double>(end - taken) / 60);
      loss = length_of_gradient = 0, since_report = 0;
      if (taken % checkpoint_every == 0 || taken == end)
        std::printf("  held out %.4f", bits(example::nats_per_byte(model, held_out, taken == end ? 1'000'000 : 64)));
      std::printf("\n");
      std::fflush(stdout);
    }
    if (taken % checkpoint_every == 0) checkpoint.write(course, model, adam);
  }
  checkpoint.write(course, model, adam);
  example::save_parameters(course.folder, model);
  if (adam.steps < course.steps) std::printf("Stopped after step %td; go on with --resume\n", adam.steps);
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  Course course;
  if (!parse(argc, argv, course)) {
    std::cerr << usage;
    return 2;
  }
#ifdef __AVX2__
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::cerr << "This program was compiled for processors with AVX2 and FMA; compile train.cpp without these flags\n";
    return EXIT_FAILURE;
  }
#endif
  // Eigen cuts products to fit the caches it finds, and sums in that order: these make it the same everywhere.
  Eigen::setCpuCacheSizes(32 * 1024, 1024 * 1024, 16 * 1024 * 1024);
  std::signal(SIGINT, [](int) { interrupted = 1; });
  try {
    return run(course);
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return EXIT_FAILURE;
  }
}
