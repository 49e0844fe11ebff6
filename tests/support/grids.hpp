#pragma once
// The library's grids beside the oracle's description of each. Rule: a grid that is added to the library is added
// here once, and every law and every comparison meets it.

#include <string>
#include <variant>
#include <vector>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/grid/codebook.hpp>
#include <fewbit/grid/fp4.hpp>
#include <fewbit/grid/nf4.hpp>
#include <fewbit/grid/symmetric.hpp>

#include <support/oracle.hpp>

namespace support {

using AnyGrid = std::variant<fewbit::Symmetric, fewbit::Asymmetric, fewbit::Codebook>;

struct GridCase {
  std::string name;
  AnyGrid grid;
  oracle::Grid expected;
};

inline fewbit::Levels levels(const AnyGrid& grid) {
  return std::visit([](const auto& g) -> fewbit::Levels { return g.levels(); }, grid);
}
inline fewbit::Affine fit(const AnyGrid& grid, fewbit::Range r) {
  return std::visit([&](const auto& g) { return g.fit(r); }, grid);
}

inline oracle::Format format(fewbit::ScaleType t) {
  return t == fewbit::ScaleType::f32 ? oracle::f32 : t == fewbit::ScaleType::f16 ? oracle::f16 : oracle::bf16;
}

inline std::vector<GridCase> integer_grids(int bits) {
  using fewbit::Asymmetric, fewbit::Symmetric, oracle::Kind;
  const std::string b = std::to_string(bits);
  return {
      {"Symmetric(" + b + ")", Symmetric(bits), {bits == 1 ? Kind::signed_scale : Kind::narrow, bits}},
      {"Symmetric(" + b + ").full_range()",
       Symmetric(bits).full_range(),
       {bits == 1 ? Kind::signed_scale : Kind::full, bits}},
      {"Symmetric(" + b + ").signed_scale()", Symmetric(bits).signed_scale(), {Kind::signed_scale, bits}},
      {"Asymmetric(" + b + ")", Asymmetric(bits), {Kind::asymmetric, bits}},
      {"Asymmetric(" + b + ").including_zero()", Asymmetric(bits).including_zero(), {Kind::asymmetric_with_zero, bits}},
  };
}

// The published tables, and tables a user might bring: without a zero, without 1, one-sided, wide, with a reach.
inline std::vector<GridCase> table_grids() {
  const auto table_case = [](const std::string& name, const std::vector<float>& t, float reach = 0) {
    const fewbit::Codebook grid = reach > 0 ? fewbit::Codebook(t, reach) : fewbit::Codebook(t);
    return GridCase{name, grid, {oracle::Kind::table, oracle::bits_for(t.size()), t, static_cast<double>(reach)}};
  };
  const auto of = [](const auto& a) { return std::vector<float>(a.begin(), a.end()); };
  std::vector<float> wide;
  for (int i = -100; i < 156; ++i) wide.push_back(static_cast<float>(i) * static_cast<float>(i < 0 ? -i : i) / 3e4f);
  return {
      table_case("nf4", of(fewbit::nf4_levels)),
      table_case("nf4_blog", of(fewbit::nf4_blog_levels)),
      table_case("af4", of(fewbit::af4_levels)),
      table_case("fp4", of(fewbit::fp4_levels)),
      table_case("three levels", {-1, 0, 1}),
      table_case("two levels without a zero", {-0.7f, 0.3f}),
      table_case("negative levels only", {-0.9f, -0.3f}),
      table_case("levels with a reach", {-2.5f, -0.75f, 0.25f, 1.5f, 3}, 4.5f),
      table_case("a zero with a sign", {-1, -0.f, 1}),
      table_case("256 levels", wide),
  };
}

inline std::vector<GridCase> all_grids() {
  std::vector<GridCase> grids = table_grids();
  for (int bits = 1; bits <= 16; ++bits)
    for (GridCase& g : integer_grids(bits)) grids.push_back(std::move(g));
  return grids;
}

}  // namespace support
