#pragma once
// Runs Google Benchmark so that ratios can be trusted: everything in one process, repetitions interleaved at random,
// medians at the end. Rule: a benchmark's name is WORK/SIZE, and it is compared with other works at the same SIZE: with
// memcpy/SIZE always, with others as it says when it is added.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

// A column "x NAME" of the table: weights a second over those of another work.
struct Against {
  std::string name, work;
};

// What is known of a work before it has run, in the order in which works were added: they run in no order at all.
struct Work {
  std::string name;
  std::vector<Against> against;
};
inline std::vector<Work>& works() {
  static std::vector<Work> all;
  return all;
}
inline std::vector<std::string>& sizes() {
  static std::vector<std::string> all;
  return all;
}

// Too short a time to measure in: the run only shows that every work can run, and the programs make memory small.
inline bool& checking() {
  static bool value = false;
  return value;
}

template <class F>
void add(const std::string& work, const std::string& size, F&& f, std::vector<Against> against = {}) {
  const auto same = [&](const Work& w) { return w.name == work; };
  if (std::none_of(works().begin(), works().end(), same)) works().push_back({work, std::move(against)});
  if (std::find(sizes().begin(), sizes().end(), size) == sizes().end()) sizes().push_back(size);
  benchmark::RegisterBenchmark((work + "/" + size).c_str(), std::forward<F>(f));
}

// Says how much an iteration does: so many weights, so many bytes each, read and written.
inline void count(benchmark::State& state, std::size_t weights, double bytes_per_weight) {
  const double all = static_cast<double>(state.iterations()) * static_cast<double>(weights);
  state.SetItemsProcessed(static_cast<std::int64_t>(all));
  state.SetBytesProcessed(static_cast<std::int64_t>(all * bytes_per_weight));
}

// Collects the rates of each repetition and prints medians and their ratios: a line for each work, three sizes in it.
class Ratios : public benchmark::BenchmarkReporter {
 public:
  explicit Ratios(std::string title) : title_(std::move(title)) {}

  bool ReportContext(const Context& context) override {
    PrintBasicContext(&std::cerr, context);
    return true;
  }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;
      ++count_;
      if (failed(run)) {
        std::fprintf(stderr, "%s: %s\n", run.run_name.function_name.c_str(), reason(run).c_str());
        any_failed_ = true;
        continue;
      }
      const auto items = run.counters.find("items_per_second"), bytes = run.counters.find("bytes_per_second");
      if (items == run.counters.end() || bytes == run.counters.end()) continue;
      Samples& samples = results_[run.run_name.function_name];
      samples.items.push_back(items->second), samples.bytes.push_back(bytes->second);
    }
  }
  void Finalize() override {
    if (checking()) std::printf("%s: %d runs, too short to be measured\n", title_.c_str(), count_);
    else if (!results_.empty()) print();
  }
  bool any_failed() const { return any_failed_; }

  // Weights a second of a work; 0 if it has not run.
  double rate(const std::string& work, const std::string& size) const {
    const Samples* s = find(work, size);
    return s ? median(s->items) : 0;
  }

 private:
  struct Samples {
    std::vector<double> items, bytes;
  };

  // Google Benchmark 1.8 renamed these two.
  template <class R>
  static bool failed(const R& run) {
    if constexpr (requires { run.error_occurred; }) return run.error_occurred;
    else return run.skipped != decltype(run.skipped){};
  }
  template <class R>
  static const std::string& reason(const R& run) {
    if constexpr (requires { run.error_message; }) return run.error_message;
    else return run.skip_message;
  }

  // The value below which this part of the samples lies.
  static double quantile(std::vector<double> v, double part) {
    const auto at = v.begin() + static_cast<std::ptrdiff_t>(part * static_cast<double>(v.size() - 1) + 0.5);
    std::nth_element(v.begin(), at, v.end());
    return *at;
  }
  static double median(const std::vector<double>& v) { return quantile(v, 0.5); }

  const Samples* find(const std::string& work, const std::string& size) const {
    const auto found = results_.find(work + "/" + size);
    return found == results_.end() ? nullptr : &found->second;
  }

  // Three digits: 0.123, 1.23, 12.3, 123.
  static std::string number(double v) {
    char text[32];
    std::snprintf(text, sizeof text, "%.*f", v < 1 ? 3 : v < 10 ? 2 : v < 100 ? 1 : 0, v);
    return text;
  }

  void print() const {
    std::vector<std::string> columns = {"memcpy"};
    std::size_t name_width = 0, cell = 6;
    for (const Work& work : works()) {
      name_width = std::max(name_width, work.name.size());
      for (const Against& a : work.against)
        if (std::find(columns.begin(), columns.end(), a.name) == columns.end()) columns.push_back(a.name);
    }
    for (const std::string& size : sizes()) cell = std::max(cell, size.size() + 1);
    const int all_cells = static_cast<int>(cell * sizes().size()), one = static_cast<int>(cell),
              first = static_cast<int>(name_width);

    std::printf("%s\n\n%-*s", title_.c_str(), first, "");
    std::printf("%*s%*s", all_cells, "10^9 weights/s", all_cells, "GB/s moved");
    for (const std::string& column : columns) std::printf("%*s", all_cells, ("x " + column).c_str());
    std::printf("\n%-*s", first, "");
    for (std::size_t i = 0; i < columns.size() + 2; ++i) {
      std::printf("  ");
      for (const std::string& size : sizes()) std::printf("%*s", one, size.c_str());
    }
    std::printf("\n");
    for (const Work& work : works()) print(work, columns, first, one);
    std::printf("\n");
  }

  void print(const Work& work, const std::vector<std::string>& columns, int first, int cell) const {
    const auto ran = [&](const std::string& size) { return find(work.name, size) != nullptr; };
    if (std::none_of(sizes().begin(), sizes().end(), ran)) return;
    std::printf("%-*s", first, work.name.c_str());
    const auto print_each = [&](auto text) {
      std::printf("  ");
      for (const std::string& size : sizes()) std::printf("%*s", cell, text(size).c_str());
    };
    print_each([&](const std::string& size) {
      const Samples* s = find(work.name, size);
      return s ? number(median(s->items) * 1e-9) + (uneven(*s) ? "~" : "") : std::string("-");
    });
    print_each([&](const std::string& size) {
      const Samples* s = find(work.name, size);
      return s ? number(median(s->bytes) * 1e-9) : std::string("-");
    });
    for (const std::string& column : columns) {
      std::string base = column == "memcpy" ? column : "";
      for (const Against& a : work.against)
        if (a.name == column) base = a.work;
      print_each([&](const std::string& size) {
        const Samples *s = find(work.name, size), *b = base.empty() ? nullptr : find(base, size);
        return s && b ? number(median(s->items) / median(b->items)) : std::string("-");
      });
    }
    std::printf("\n");
  }

  // The middle half of the repetitions spreads over more than 20 % of the median: something else was running.
  static bool uneven(const Samples& s) {
    return quantile(s.items, 0.75) - quantile(s.items, 0.25) > 0.2 * median(s.items);
  }

  std::string title_;
  std::map<std::string, Samples> results_;
  int count_ = 0;
  bool any_failed_ = false;
};

// The first thing `main` of a benchmark program does, before it adds anything. Any of Google Benchmark's flags may be
// given and win over these. Ends the program when it does not know one.
inline void start(int argc, char** argv) {
  static std::vector<std::string> words = {argv[0], "--benchmark_repetitions=7",
                                           "--benchmark_enable_random_interleaving=true", "--benchmark_min_time=0.05",
                                           "--benchmark_min_warmup_time=0.01"};
  constexpr std::string_view min_time = "--benchmark_min_time=";
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]).substr(0, min_time.size()) == min_time)
      checking() = std::atof(argv[i] + min_time.size()) < 0.005;
  if (checking()) words.insert(words.end(), {"--benchmark_repetitions=1", "--benchmark_min_warmup_time=0"});
  words.insert(words.end(), argv + 1, argv + argc);
  static std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  int count = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) std::exit(2);
}

// Runs what was added and prints the table under this title, and then what `also` makes of it. The status `main`
// returns: 1 if a work came out wrong.
inline int run(const std::string& title, const std::function<void(const Ratios&)>& also = {}) {
  Ratios ratios(title);
  benchmark::RunSpecifiedBenchmarks(&ratios);
  benchmark::Shutdown();
  if (also && !checking()) also(ratios);
  return ratios.any_failed() ? 1 : 0;
}

}  // namespace bench
