#pragma once
// Letters five dots wide for titles in images. Rule: a glyph is its rows from top to bottom, each row one digit
// of base 32 whose bits are the dots; rows eight and nine hang below the line.

#include <array>
#include <string_view>

namespace example {

inline constexpr int glyph_width = 5, glyph_height = 9;

// The rows of a character, or an empty text for one that has no glyph.
constexpr std::string_view glyph(char c) {
  constexpr std::string_view capitals[] = {"ehhvhhh", "uhhuhhu", "ehggghe", "uhhhhhu", "vgguggv", "vgguggg", "ehgnhhf",
                                           "hhhvhhh", "e44444e", "72222ic", "hikokih", "ggggggv", "hrllhhh", "hhpljhh",
                                           "ehhhhhe", "uhhuggg", "ehhhlid", "uhhukih", "fgge11u", "v444444", "hhhhhhe",
                                           "hhhhha4", "hhhllla", "hha4ahh", "hhha444", "v1248gv"};
  constexpr std::string_view small[] = {
      "00e1fhf",   "ggmphhu", "00egghe", "11djhhf", "00ehvge", "698s888", "00fhhhf1e", "ggmphhh",   "40c444e",
      "2062222ic", "ggikoki", "c44444e", "00qllhh", "00mphhh", "00ehhhe", "00uhhhugg", "00fhhhf11", "00mpggg",
      "00fge1u",   "88s8896", "00hhhjd", "00hhha4", "00hhlla", "00ha4ah", "00hhhhf1e", "00v248v"};
  constexpr std::string_view digits[] = {"ehjlphe", "4c4444e", "eh1248v", "v2421he", "26aiv22",
                                         "vgu11he", "68guhhe", "v124888", "ehhehhe", "ehhf12c"};
  if (c >= 'A' && c <= 'Z') return capitals[c - 'A'];
  if (c >= 'a' && c <= 'z') return small[c - 'a'];
  if (c >= '0' && c <= '9') return digits[c - '0'];
  switch (c) {
    case '.': return "00000cc";
    case ',': return "00000c48";
    case ':': return "0cc0cc0";
    case '-': return "000v000";
    case '+': return "044v440";
    case '=': return "00v0v00";
    case '/': return "01248g0";
    case '(': return "2488842";
    case ')': return "8422248";
    case '|': return "4444444";
    default: return "";
  }
}

// Whether the dot at (row, column) of a character is set.
constexpr bool dot(char c, int row, int column) {
  const std::string_view rows = glyph(c);
  if (row < 0 || row >= static_cast<int>(rows.size())) return false;
  const char digit = rows[static_cast<std::size_t>(row)];
  const int bits = digit <= '9' ? digit - '0' : digit - 'a' + 10;
  return (bits >> (glyph_width - 1 - column) & 1) != 0;
}

}  // namespace example
