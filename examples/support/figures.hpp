#pragma once
// A document's figures beside the computed ones. Rule: a published figure is typed in only here, as the text to
// compare with; what stands beside it was computed by the library a moment ago, and is compared as text, to the
// last digit the document prints.

#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "table.hpp"

namespace example {

class Figures {
 public:
  explicit Figures(const std::string& title) { std::cout << title << "\n\n"; }

  // A figure that the document prints.
  void published(const std::string& name, const std::string& printed, const std::string& computed) {
    published_.row({name, printed, computed, published_count_.judge(printed, computed)});
  }

  // A figure that the document does not print, but that its listing gives when it is run.
  void listing(const std::string& name, const std::string& expected, const std::string& computed) {
    listing_.row({name, expected, computed, further_count_.judge(expected, computed)});
  }

  // A figure that the document gets wrong or leaves out, and the right one. `why` is a sentence for the reader.
  void corrected(const std::string& name, const std::string& page, const std::string& correct,
                 const std::string& computed, const std::string& why = {}) {
    corrected_.row({name, page, correct, computed, further_count_.judge(correct, computed)});
    if (!why.empty()) corrected_.note("  " + why);
  }

  // What the document has no figures for: measured, and not judged. Printed below the other tables.
  void measured(Table table) { measured_.push_back(std::move(table)); }

  // Prints the tables and the closing line; the program's exit status.
  int close() const {
    for (const Table* table : {&published_, &listing_, &corrected_})
      if (!table->empty()) std::cout << *table << '\n';
    for (const Table& table : measured_) std::cout << table << '\n';
    if (further_count_.all > 0)
      std::cout << further_count_.agreed << " of " << further_count_.all << " further figures confirmed\n";
    std::cout << published_count_.agreed << " of " << published_count_.all << " published figures reproduced\n";
    return published_count_.complete() && further_count_.complete() ? EXIT_SUCCESS : EXIT_FAILURE;
  }

 private:
  struct Count {
    int agreed = 0, all = 0;
    bool complete() const { return agreed == all; }
    std::string judge(const std::string& expected, const std::string& computed) {
      ++all;
      if (expected != computed) return "DIFFERS";
      ++agreed;
      return "agrees";
    }
  };

  Table published_{{"Printed in the document", "published", "computed", ""}};
  Table listing_{{"Not printed, but what its listing gives when run", "listing", "computed", ""}};
  Table corrected_{{"Where the document is wrong, or leaves something out", "document", "correct", "computed", ""}};
  std::vector<Table> measured_;
  Count published_count_, further_count_;
};

}  // namespace example
