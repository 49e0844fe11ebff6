// The page's numbers without a page: the answers that the C interface of playground.hpp gives when it is compiled for
// this machine.
//
//   native                      the answers to the views that the documents' figures are about
//   native [--text NUMBERS] [--npy FILE] TAB?VIEW...
//                               the answers to these: demo?weights=normal&shape=64x64, predictions, snap?bits=3,
//                               and of the last one: cell?12, dot?0, pixels?2 (RGBA of its first cell and its last)
#include "playground.hpp"

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

namespace {

// The first and the last of n colours, each as eight hexadecimal digits.
const char* colours(const std::uint8_t* pixels, std::size_t n) {
  static std::string text;
  text.clear();
  for (const std::uint8_t* p : {pixels, pixels + 4 * (n - 1)})
    for (int k = 0; k < 4; ++k)
      for (const int digit : {p[k] / 16, p[k] % 16}) text += "0123456789abcdef"[digit];
  return text.c_str();
}

std::size_t cells = 0;  // of the last view

// What stands behind a key of an answer, "rows":"24".
std::size_t number_in(const std::string& answer, const std::string& key) {
  const std::size_t at = answer.find('"' + key + "\":\"");
  return at == answer.npos ? 0 : std::strtoul(answer.c_str() + at + key.size() + 4, nullptr, 10);
}

const char* answer_to(const std::string& question) {
  const std::size_t mark = question.find('?');
  const std::string tab = question.substr(0, mark), view = mark == question.npos ? "" : question.substr(mark + 1);
  const auto number = [&] { return static_cast<std::size_t>(std::strtoul(view.c_str(), nullptr, 10)); };
  if (tab == "demo") {
    const char* answer = playground_demo(view.c_str());
    cells = number_in(answer, "rows") * number_in(answer, "cols");
    return answer;
  }
  if (tab == "pixels" && cells > 0) return colours(playground_pixels(static_cast<int>(number())), cells);
  if (tab == "predictions") return playground_predictions();
  if (tab == "cell") return playground_cell(number());
  if (tab == "snap") return playground_snap(view.c_str());
  if (tab == "dot") return playground_dot(number());
  return nullptr;
}

std::vector<std::string> documents() {
  std::vector<std::string> all;
  for (const char* scheme : {"asymmetric", "linear"})
    for (const char* bits : {"16", "8", "4", "2"})
      all.push_back(std::string("demo?scheme=") + scheme + "&bits=" + bits);
  all.push_back("predictions");
  for (const char* scales : {"per=tensor", "per=channel", "per=group&group=128"})
    all.push_back(std::string("demo?weights=outlier&shape=64x512&spread=0.02&scheme=linear&") + scales);
  for (const char* scheme : {"linear", "asymmetric"})
    all.push_back(std::string("demo?weights=relu&shape=1x1000&spread=0.5&scheme=") + scheme);
  for (const char* bits : {"4", "2"})
    all.push_back(std::string("snap?weights=normal&shape=1x1000&spread=0.5&bits=") + bits);
  for (const char* grid : {"even", "nf4", "nf4_blog", "lloyd"})
    all.push_back(std::string("snap?weights=normal&shape=1x10000&grid=") + grid);
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> questions;
  for (int k = 1; k < argc; ++k) {
    const std::string word = argv[k];
    if (word == "--text" && k + 1 < argc) std::cout << playground_own_text(argv[++k]) << '\n';
    else if (word == "--npy" && k + 1 < argc) std::cout << playground_own_npy(argv[++k]) << '\n';
    else questions.push_back(word);
  }
  if (argc == 1) questions = documents();
  for (const std::string& question : questions) {
    const char* answer = answer_to(question);
    if (answer == nullptr) {
      std::cerr << "native: no tab of the page is called '" << question << "'\n";
      return 2;
    }
    if (argc == 1) std::cout << question << '\n';
    std::cout << answer << '\n';
  }
  return 0;
}
