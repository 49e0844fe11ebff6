#!/usr/bin/env python3
"""Faults, planted one at a time: does some test notice each?

    python3 tests/mutation/mutate.py [--all] [--jobs N] [--build FOLDER] [--only TEXT]

Every fault ("mutant") is compiled into one set of test programs, and FEWBIT_MUTANT=<number> in the environment switches
one on, so that hundreds cost one build. A first run of each test case by itself records which faults it comes by; a
fault is then put only before those, the quickest first. A case that fails, dies or takes ten times its time kills it.

Faults are: another comparison, another arithmetic or logical operator, a constant one up (or 5 % up), another rounding,
the other of min and max, a condition that is never true, a statement left out; and those of `named`, which are written
out. A sample of them, chosen by a checksum of their text, is enough; --all takes every one. Survivors must be in
survivors.txt with the reason why nothing can tell them from the library, or why nothing does.

The last line is the score. Exit status 0: at least 200 faults, 90 % of them killed, every named one too, and no survivor
without a reason.
"""

import argparse
import collections
import concurrent.futures
import itertools
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MUTATED = ["core/*.hpp", "kernel/scalar*.hpp", "storage/*.hpp", "quantize/*.hpp"]
SAMPLE = 10  # one in so many

# Faults that any test of a quantizer must notice: file, an expression there, what stands there instead.
NAMED = [
    ("truncation", "kernel/scalar.hpp", "(within + pull) - pull", "std::trunc(within)"),
    ("floor", "kernel/scalar.hpp", "(within + pull) - pull", "std::floor(within)"),
    ("half away from zero", "kernel/scalar.hpp", "(within + pull) - pull", "std::round(within)"),
    ("truncation of what is far from zero", "kernel/scalar.hpp", "(x + pull) - pull", "std::trunc(x)"),
    ("a product with the reciprocal", "kernel/scalar.hpp", "w / scale + add", "w * (1 / scale) + add"),
    ("a scale 5 % too large", "grid/grid.hpp", "a / b", "1.05f * a / b"),
    ("a scale 5 % too small", "grid/grid.hpp", "a / b", ".95f * a / b"),
    ("an asymmetric scale 5 % too small", "grid/asymmetric.hpp", "static_cast<double>(levels_.last())",
     "1.05 * static_cast<double>(levels_.last())"),
    ("an asymmetric scale 5 % too large", "grid/asymmetric.hpp", "static_cast<double>(levels_.last())",
     ".95 * static_cast<double>(levels_.last())"),
    ("one bit less, symmetric", "grid/symmetric.hpp", "1 << (bits - 1)", "(1 << bits) / 4"),
    ("one bit less, asymmetric", "grid/asymmetric.hpp", "1 << bits", "(1 << bits) / 2"),
]

# Operators by themselves, as clang-format writes them: with a space on either side. A template's brackets have none.
OPERATORS = {
    "<": ["<="], "<=": ["<"], ">": [">="], ">=": [">"], "==": ["!="], "!=": ["=="],
    "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["/"],
    "&&": ["||"], "||": ["&&"], "&": ["|"], "|": ["&"], "<<": [">>"], ">>": ["<<"],
    "+=": ["-="], "-=": ["+="], "*=": ["/="], "/=": ["*="], "|=": ["&="], "&=": ["|="], "<<=": [">>="], ">>=": ["<<="],
}
CALLS = {
    "std::nearbyint": ["std::trunc", "std::floor", "std::round"],
    "std::rint": ["std::trunc", "std::floor"],
    "std::floor": ["std::ceil"], "std::ceil": ["std::floor"],
    "std::min": ["std::max"], "std::max": ["std::min"], "std::fmin": ["std::fmax"], "std::fmax": ["std::fmin"],
    "std::fabs": [""], "std::abs": [""], "std::sqrt": [""],
}
NO_STATEMENT = re.compile(
    r"^(template|using|static_assert|friend|namespace|struct|class|enum|concept|typedef|extern|inline|constexpr|static"
    r"|public|private|break|continue|goto|throw|default|operator|assert|explicit|virtual|#)\b")
# What only advises the machine: nothing but time can tell where, or whether, it was said.
ADVICE = re.compile(r"^(__builtin_prefetch|madvise)\(")
ASSIGNMENT = re.compile(r"^\S+ (=|\+=|-=|\*=|/=|%=|\|=|&=|\^=|<<=|>>=) ")
CALL = re.compile(r"^[A-Za-z_][\w:.]*(->[\w:.]+)*(<[^ ]*>)?\(.*\)$", re.S)

Mutant = collections.namedtuple("Mutant", "number file line original mutated name")


def blank(text):
    """The text with comments, literals of text and preprocessor lines as spaces of the same length."""

    def spaces(match):
        return re.sub(r"[^\n]", " ", match.group())

    def quotes(match):
        return '"' + re.sub(r"[^\n]", "s", match.group()[1:-1]) + '"'

    text = re.sub(r"//[^\n]*", spaces, text)
    text = re.sub(r'"(\\.|[^"\\\n])*"', quotes, text)
    text = re.sub(r"'(\\.|[^'\\\n])'", lambda m: "'" + "c" * (len(m.group()) - 2) + "'", text)
    return re.sub(r"^[ \t]*#.*?(?<!\\)$", spaces, text, flags=re.M | re.S)


def closing(text, at):
    """Where the bracket that opens at `at` is closed."""
    depth = 0
    for i in range(at, len(text)):
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
            if depth == 0:
                return i
    return len(text)


def split_top(text, separator):
    """Offsets of a separator outside all brackets."""
    depth, found = 0, []
    for i, c in enumerate(text):
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(separator, i):
            found.append(i)
    return found


def balanced(text):
    return "{" not in text and "}" not in text and all(
        text.count(a) == text.count(b) for a, b in ("()", "[]")) and not text.startswith(")")


class Places:
    """The expressions of a file that may be replaced: (start, end, kind), kind being value, condition or statement."""

    def __init__(self, text):
        self.text = text
        self.found = []
        self.scan()

    def condition(self, start, end):
        parts = split_top(self.text[start:end], ";")
        if parts:
            start += parts[-1] + 1
        if balanced(self.text[start:end]) and not re.match(r"\s*(const|auto)\b", self.text[start:end]):
            self.keep(start, end, "condition")

    def keep(self, start, end, kind):
        while start < end and self.text[start].isspace():
            start += 1
        while end > start and self.text[end - 1].isspace():
            end -= 1
        if start < end:
            self.found.append((start, end, kind))

    def statement(self, start, end):
        chunk = self.text[start:end]
        lead = len(chunk) - len(chunk.lstrip())
        start, chunk = start + lead, chunk.strip()
        if not chunk or not balanced(chunk):
            return
        if re.match(r"return\b", chunk):
            return self.keep(start + 6, end, "value")
        if NO_STATEMENT.match(chunk) or ADVICE.match(chunk):
            return
        bare = re.sub(r"\[[^\[\]]*\]|\([^()]*\)", lambda m: m.group()[0] + "x" * (len(m.group()) - 2) + m.group()[-1],
                      chunk)
        if ASSIGNMENT.match(bare) or re.match(r"^(\+\+|--)", chunk) or CALL.match(bare) and " " not in bare.split("(")[0]:
            return self.keep(start, end, "statement")
        equals = split_top(chunk, " = ")
        if equals and not re.search(r"\boperator\b|= (default|delete|0)$", chunk):
            value = start + equals[0] + 3
            ends = [value + c for c in split_top(self.text[value:end], ",")] + [end]
            self.keep(value, ends[0], "value")
            for start, end in zip(ends, ends[1:]):
                declared = re.match(r",\s*[*&]*\w+ = ", self.text[start:end])
                if declared:
                    self.keep(start + declared.end(), end, "value")

    def scan(self):
        text, i, start, depth = self.text, 0, 0, 0
        while i < len(text):
            if text[start:i].strip() == "":
                word = re.match(r"(else\b|do\b|case\b[^:;]*:(?!:)|default:|public:|private:)", text[i:])
                if word:
                    i = start = i + word.end()
                    continue
                word = re.match(r"(if constexpr|if|while|for|switch)\s*\(", text[i:])
                if word:
                    open_at = i + word.end() - 1
                    close_at = closing(text, open_at)
                    inside = text[open_at + 1:close_at]
                    if word.group(1) in ("if", "while"):
                        self.condition(open_at + 1, close_at)
                    elif word.group(1) == "for":
                        parts = split_top(inside, ";")
                        if len(parts) == 2:
                            self.condition(open_at + 1 + parts[0] + 1, open_at + 1 + parts[1])
                    i = start = close_at + 1
                    continue
            c = text[i]
            if c in "([":
                depth += 1
            elif c in ")]":
                depth -= 1
            elif c in "{}":
                start, depth = i + 1, 0
            elif c == ";" and depth <= 0:
                self.statement(start, i)
                start, depth = i + 1, 0
            i += 1


def alternatives(source, blanked, kind):
    """What may stand for an expression: (text, what was done)."""
    has_text = '"' in blanked
    # A minimum, a maximum or a magnitude is the same where its operands are equal.
    no_edge = [m.span() for m in
               re.finditer(r"(\S+) [<>]=? (\S+) \? (\1 : \2|\2 : \1|-\1 : \1\b)", blanked)]
    for match in re.finditer(r"(?<= )(<<=|>>=|[<>=!+\-*/%&|]=|&&|\|\||<<|>>|[<>+\-*/%&|])(?=\s)", blanked):
        operator = match.group()
        if has_text and operator in ("+", "<<", "+="):
            continue
        if operator in ("<", "<=", ">", ">=") and any(a < match.start() < b for a, b in no_edge):
            continue
        for other in OPERATORS.get(operator, []):
            yield source[:match.start()] + other + source[match.end():]
    for match in re.finditer(r"(?<![\w.'])(\d+)(?![\w.'])", blanked):
        if not has_text:
            yield source[:match.start()] + str(int(match.group()) + 1) + source[match.end():]
    for match in re.finditer(r"(?<![\w.'])(\d+\.\d*|\d*\.\d+)(f?)(?![\w.'])", blanked):
        if float(match.group(1)) != 0:
            yield source[:match.start()] + "(" + match.group() + " * 1.05" + match.group(2) + ")" + source[match.end():]
    for match in re.finditer(r"std::\w+(?=\()", blanked):
        for other in CALLS.get(match.group(), []):
            yield source[:match.start()] + other + source[match.end():]
    if kind == "condition":
        yield "false"


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


class Header:
    """One header with its faults built in."""

    def __init__(self, path, number, sampled, take_all):
        self.name = str(path.relative_to(ROOT / "include" / "fewbit"))
        self.source = path.read_text()
        self.blanked = blank(self.source)
        self.chosen, self.total = [], 0  # chosen: (start, end, kind, [mutants])
        seen = collections.Counter()
        places = []
        for place in sorted(set(Places(self.blanked).found)) if sampled else []:
            if not places or place[0] >= places[-1][1]:
                places.append(place)
        by_name = collections.defaultdict(list)
        for name, file, text, other in NAMED:
            if file != self.name:
                continue
            if self.blanked.count(text) != 1:
                sys.exit(f"the fault '{name}' needs one place: '{text}' is {self.blanked.count(text)} times in {file}")
            start = self.blanked.index(text)
            around = [p for p in places if p[0] <= start and start + len(text) <= p[1]]
            place = around[0] if around else (start, start + len(text), "value")
            places = sorted(set(places + [place]))
            by_name[place].append((self.source[place[0]:start] + other + self.source[start + len(text):place[1]], name))

        for place in places:
            start, end, kind = place
            original, line = self.source[start:end], self.source.count("\n", 0, start) + 1
            candidates = [(t, "") for t in alternatives(original, self.blanked[start:end], kind)] if sampled else []
            if kind == "statement":
                candidates.append(("", ""))
            mutants = []
            for text, name in by_name[place] + candidates:
                text = one_line(re.sub(r"//[^\n]*", "", text))
                if any(m.mutated == text for m in mutants):
                    continue
                self.total += 1
                key = f"{self.name}|{one_line(original)}|{text}"
                seen[key] += 1
                if not (name or take_all or zlib.crc32(f"{key}|{seen[key]}".encode()) % SAMPLE == 0):
                    continue
                number += 1
                mutants.append(Mutant(number, self.name, line, one_line(original), text, name))
            if mutants:
                self.chosen.append((start, end, kind, mutants))
        self.last_number = number

    def write(self, path, dropped):
        """Writes the header; returns which fault stands on which line."""
        out, at, lines = "", 0, {}
        for start, end, kind, mutants in self.chosen:
            out += self.source[at:start]
            at = end
            original = self.source[start:end]
            alive = [m for m in mutants if m.number not in dropped]
            if not alive:
                out += original
                continue
            out += "("
            for m in alive:
                out += f"\n::fewbit_mutation::on({m.number}) ? "
                lines[out.count("\n") + 1] = m.number
                if kind == "statement":
                    out += f"void(({m.mutated})) :" if m.mutated else "void() :"
                else:
                    out += f"({m.mutated}) :"
            out += f"\nvoid(({original})))" if kind == "statement" else f"\n({original}))"
        out += self.source[at:]
        out = out.replace("#pragma once\n", '#pragma once\n#include "fewbit_mutation.hpp"\n', 1)
        path.write_text(out)
        return {line + 1: number for line, number in lines.items()}


SWITCH = """#pragma once
#include <cstdio>
#include <cstdlib>
#include <type_traits>
namespace fewbit_mutation {
struct Switch {
  int active = 0;
  const char* record = std::getenv("FEWBIT_MUTANT_RECORD");
  unsigned char reached[1 << 14] = {};
  Switch() {
    if (const char* number = std::getenv("FEWBIT_MUTANT")) active = std::atoi(number);
  }
  ~Switch() {
    if (!record) return;
    std::FILE* file = std::fopen(record, "w");
    for (int i = 0; i < 1 << 14; ++i)
      if (reached[i]) std::fprintf(file, "%d\\n", i);
    std::fclose(file);
  }
};
inline Switch& the_switch() {
  static Switch s;
  return s;
}
inline bool asked(int number) {
  Switch& s = the_switch();
  s.reached[number] = 1;
  return s.active == number;
}
constexpr bool on(int number) {
  if (std::is_constant_evaluated()) return false;
  return asked(number);
}
}  // namespace fewbit_mutation
"""


class Build:
    def __init__(self, folder, jobs, eigen):
        self.folder, self.jobs = folder, jobs
        self.include = folder / "include"
        self.flags = ["-std=c++20", "-O1", "-UNDEBUG", "-w", "-DFEWBIT_KERNELS_ELSEWHERE", f"-I{self.include}",
                      f"-I{self.include}/fewbit", f"-I{ROOT}/tests", "-isystem", eigen]
        self.cxx = os.environ.get("CXX", "clang++")

    def sources(self):
        tests = ROOT / "tests"
        found = sorted(p for p in tests.rglob("*_test.cpp") if "threads" not in p.parts)
        return [tests / "support" / "catch_main.cpp", tests / "support" / "kernels.cpp"] + found

    def compile(self, source, syntax_only):
        target = self.folder / ("_".join(source.relative_to(ROOT / "tests").parts) + ".o")
        command = [self.cxx, *self.flags, str(source)]
        command += ["-fsyntax-only", "-ferror-limit=0"] if syntax_only else ["-c", "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        return source, target, done.returncode, done.stderr

    def all(self, sources, syntax_only=False):
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(lambda s: self.compile(s, syntax_only), sources))


def run(command, environment, seconds):
    """Exit status, or None when it took too long; and how long it took."""

    def limits():
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    start = time.monotonic()
    try:
        done = subprocess.run(command, env={**os.environ, "FEWBIT_ISA": "scalar", **environment}, timeout=seconds,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=limits)
        return done.returncode, time.monotonic() - start
    except subprocess.TimeoutExpired:
        return None, time.monotonic() - start


def make_programs(folder, headers, options):
    """Builds a program from each test file; returns the numbers of the faults that do not compile."""
    shutil.rmtree(folder)
    folder.mkdir()
    build = Build(folder, options.jobs, options.eigen)
    shutil.copytree(ROOT / "include", build.include)
    (build.include / "fewbit" / "fewbit_mutation.hpp").write_text(SWITCH)

    # What the compiler complains of is dropped until it is silent.
    dropped, pending = set(), build.sources()
    while pending:
        lines = {h.name: h.write(build.include / "fewbit" / h.name, dropped) for h in headers}
        again, found = [], set()
        for source, _, status, errors in build.all(pending, syntax_only=True):
            if status == 0:
                continue
            again.append(source)
            for name, line in re.findall(r"fewbit/([\w/]+\.hpp):(\d+):", errors):
                found.add(lines.get(name, {}).get(int(line)))
        found = {n for n in found if n is not None} - dropped
        if again and not found:
            sys.exit(f"does not compile, and no fault is to blame:\n{errors[:3000]}")
        dropped |= found
        pending = again

    built = build.all(build.sources())
    for source, _, status, errors in built:
        if status != 0:
            sys.exit(f"{source} does not compile:\n{errors[:3000]}")
    common = [str(target) for _, target, _, _ in built[:2]]
    for _, target, _, _ in built[2:]:
        subprocess.run([build.cxx, str(target), *common, "-o", str(target.with_suffix(""))], check=True)
    return sorted(dropped)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--all", action="store_true", help="every fault, not a sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--build", default=str(ROOT / "build" / "mutation"))
    parser.add_argument("--only", default="", help="only faults of files whose name holds this")
    parser.add_argument("--eigen", default=os.environ.get("EIGEN_INCLUDE", "/usr/include/eigen3"))
    parser.add_argument("--built", action="store_true", help="take the programs that the last run left in the folder")
    parser.add_argument("--list", action="store_true", help="list the faults and stop")
    options = parser.parse_args()

    library = ROOT / "include" / "fewbit"
    sampled = {path for pattern in MUTATED for path in library.glob(pattern)}
    headers, number, total = [], 0, 0
    for path in sorted(sampled | {library / file for _, file, _, _ in NAMED}):
        header = Header(path, number, path in sampled, options.all)
        number, total = header.last_number, total + header.total
        headers.append(header)
    mutants = {m.number: m for h in headers for _, _, _, ms in h.chosen for m in ms}
    print(f"{len(mutants)} of {total} faults in {len(headers)} headers", flush=True)
    if options.list:
        for m in mutants.values():
            print(f"{m.file}:{m.line}: {m.original}  ->  {m.mutated or 'left out'}")
        return 0

    folder = pathlib.Path(options.build).resolve()
    dropped_file = folder / "dropped.txt"
    if not options.built:
        dropped_file.parent.mkdir(parents=True, exist_ok=True)
        dropped_file.write_text("\n".join(map(str, make_programs(folder, headers, options))))
    for number in map(int, dropped_file.read_text().split()):
        del mutants[number]
    programs = sorted(p.with_suffix("") for p in folder.glob("*_test.cpp.o"))
    print(f"{len(mutants)} of them compile", flush=True)

    # Which case comes by which faults, and how long it takes.
    cases = []
    for program in programs:
        listed = subprocess.run([program, "--list-test-names-only"], capture_output=True, text=True)
        cases += [(program, name.strip()) for name in listed.stdout.splitlines() if name.strip()]

    def command(case):
        program, name = case
        pattern = re.sub(r'([,\[\]"\\])', r"\\\1", name)
        if pattern.startswith("-"):
            pattern = "*" + pattern[1:]  # no option
        return [str(program), pattern, "--abort", "--warn", "NoTests"]

    def record(i):
        file = folder / f"reached.{i}"
        status, seconds = run(command(cases[i]), {"FEWBIT_MUTANT_RECORD": str(file)}, 600)
        if status != 0:
            sys.exit(f"fails without a fault: {cases[i][1]}")
        return {int(n) for n in file.read_text().split()} if file.exists() else set(), seconds

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        recorded = list(pool.map(record, range(len(cases))))
    print(f"{len(cases)} test cases, {sum(s for _, s in recorded):.0f} s", flush=True)

    near_by = {n: sorted((s, i) for i, (reached, s) in enumerate(recorded) if n in reached) for n in mutants}

    def attack(m):
        near = near_by[m.number]
        for seconds, i in near:
            status, _ = run(command(cases[i]), {"FEWBIT_MUTANT": str(m.number)}, 10 * seconds + 5)
            if status != 0:
                return cases[i][1]
        return None

    done = itertools.count(1)

    def attack_and_tell(m):
        by = attack(m)
        if next(done) % 50 == 0:
            print(f"  {m.number} of {len(mutants)}", flush=True)
        return by

    selected = [m for m in mutants.values() if options.only in m.file]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        killers = dict(zip(selected, pool.map(attack_and_tell, selected)))

    reasons = {}
    for line in (HERE / "survivors.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            key, _, reason = line.partition(" :: ")
            reasons[key] = reason
    killed = [m for m, by in killers.items() if by]
    bad = 0
    with open(folder / "report.txt", "w") as report:
        for m, by in killers.items():
            print(f"{m.file}:{m.line}: {m.original}  ->  {m.mutated or 'left out'}: {by or 'SURVIVES'}", file=report)
    for m, by in killers.items():
        if by:
            continue
        key = f"{m.file}: {m.original} -> {m.mutated or 'left out'}"
        print(f"survives: {m.file}:{m.line}: {m.original} -> {m.mutated or 'left out'}: "
              f"{reasons.get(key, 'NO REASON GIVEN')} ({len(near_by[m.number])} cases come by it)")
        bad += key not in reasons or bool(m.name)
    score = 100 * len(killed) / max(1, len(killers))
    enough = len(killers) >= 200 or options.only
    print(f"{len(killed)} of {len(killers)} faults killed, {score:.1f} %; {bad} survivors without a reason")
    return 0 if enough and score >= 90 and bad == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
