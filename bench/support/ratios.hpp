#pragma once
// Runs Google Benchmark so that ratios can be trusted: everything in one process, repetitions interleaved at random,
// medians at the end. Rule: a benchmark's name is WORK/SIZE, and what it is measured against is memcpy/SIZE.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace bench {

// The benchmarks in the order in which they were added: they run in no order at all.
inline std::vector<std::string>& names() {
  static std::vector<std::string> all;
  return all;
}

template <class F>
void add(const std::string& name, F&& f) {
  names().push_back(name);
  benchmark::RegisterBenchmark(name.c_str(), std::forward<F>(f));
}

// Collects weights per second of each repetition, and prints medians beside memcpy's.
class Ratios : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override {
    PrintBasicContext(&std::cerr, context);
    return true;
  }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration || run.error_occurred) continue;
      const auto items = run.counters.find("items_per_second"), bytes = run.counters.find("bytes_per_second");
      if (items == run.counters.end() || bytes == run.counters.end()) continue;
      const std::string& name = run.run_name.function_name;
      results_[name].items.push_back(items->second), results_[name].bytes.push_back(bytes->second);
    }
  }
  void Finalize() override {
    std::printf("%-54s %10s %12s %10s\n", "work / floats", "10^9 w/s", "GB/s moved", "x memcpy");
    for (const std::string& name : names()) {
      if (results_.count(name) == 0) continue;
      const std::string size = name.substr(name.rfind('/') + 1);
      const double items = median(results_[name].items), bytes = median(results_[name].bytes);
      const auto base = results_.find("memcpy/" + size);
      std::printf("%-54s %10.2f %12.1f", name.c_str(), items * 1e-9, bytes * 1e-9);
      if (base == results_.end()) std::printf(" %10s\n", "-");
      else std::printf(" %10.2f\n", items / median(base->second.items));
    }
  }

 private:
  struct Samples {
    std::vector<double> items, bytes;
  };
  static double median(std::vector<double> v) {
    std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
    return v[v.size() / 2];
  }
  std::map<std::string, Samples> results_;
};

// `main` of a benchmark program; any of Google Benchmark's flags may be given and win over these.
inline int run(int argc, char** argv) {
  std::vector<std::string> words = {argv[0], "--benchmark_repetitions=7", "--benchmark_enable_random_interleaving=true",
                                    "--benchmark_min_time=0.05", "--benchmark_min_warmup_time=0.01"};
  words.insert(words.end(), argv + 1, argv + argc);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;
  Ratios ratios;
  benchmark::RunSpecifiedBenchmarks(&ratios);
  benchmark::Shutdown();
  return 0;
}

}  // namespace bench
