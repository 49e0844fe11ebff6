#!/usr/bin/env python3
"""Writes onnx_vectors.inc: what ONNX says of quantized tensors, as cases for onnx_test.cpp.

    python3 make_onnx_vectors.py > onnx_vectors.inc

Written from the text of the operators (opset 25), not from anybody's program. Floats are exact fractions here, and one
function rounds them to float32: no floating-point unit has a say. Of Python it needs nothing but itself.
"""

import random
from fractions import Fraction

TYPES = {
    "int2": (-2, 1),
    "uint2": (0, 3),
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
}
MOST = (2**24 - 1) * Fraction(2) ** 104  # the largest float32
INFINITY = "inf"


def half_even(x):
    """The integer nearest to a fraction; Python's round() does that, ties to even."""
    return round(x)


def float32(x):
    """The float32 nearest to a fraction, ties to even; INFINITY with a sign where there is none."""
    if x == 0:
        return Fraction(0)
    exponent = max(floor_log2(abs(x)) - 23, -149)
    unit = Fraction(2) ** exponent
    rounded = half_even(x / unit) * unit
    if abs(rounded) > MOST:
        return INFINITY if x > 0 else "-" + INFINITY
    return rounded


def floor_log2(x):
    n = x.numerator.bit_length() - x.denominator.bit_length()
    return n if Fraction(2) ** n <= x else n - 1


def text(x):
    """A float32 as C++ writes it: hexadecimal, so that no digit is lost."""
    if isinstance(x, str):
        return x
    if x == 0:
        return "0"
    n = floor_log2(abs(x))
    digits = abs(x) / Fraction(2) ** n
    hexadecimal = "%x" % int((digits - 1) * 2**24)
    fraction = hexadecimal.rjust(6, "0").rstrip("0")
    return "%s0x1%sp%df" % ("-" if x < 0 else "", "." + fraction if fraction else "", n)


def saturate(n, kind):
    lo, hi = TYPES[kind]
    return min(max(n, lo), hi)


# ---------------------------------------------------------------------------------------------------- the operators


def quantize_linear(x, scale, zero, kind):
    """y = saturate(x / y_scale + y_zero_point); the quotient is a float32, and rounded half to even."""
    quotient = float32(x / scale)
    if isinstance(quotient, str):
        return TYPES[kind][0 if quotient[0] == "-" else 1]
    return saturate(half_even(quotient) + zero, kind)


def dequantize_linear(x, scale, zero):
    """y = (x - x_zero_point) * x_scale."""
    return float32((x - zero) * scale)


def dynamic_quantize_linear(x):
    """Scale and zero-point from the range of x, stretched to 0. Subtraction, division: each is one of float32."""
    low, high = min(0, min(x)), max(0, max(x))
    scale = float32(float32(Fraction(high) - low) / 255)
    zero = half_even(min(max(0 - float32(low / scale), 0), 255))
    return scale, zero, [quantize_linear(v, scale, zero, "uint8") for v in x]


def mat_mul_integer(a, b, a_zero, b_zero):
    """Sums of (A - a_zero_point)(B - b_zero_point): a zero-point for each row of A[M, K], each column of B[K, N]."""
    inner, columns = len(b), len(b[0])
    y = [[sum((row[k] - a_zero[i]) * (b[k][j] - b_zero[j]) for k in range(inner)) for j in range(columns)]
         for i, row in enumerate(a)]
    assert all(-2**31 <= v < 2**31 for row in y for v in row)
    return y


def q_linear_mat_mul(y, a_scale, b_scale, y_scale, y_zero, kind):
    """The sums times a_scale * b_scale / y_scale in float32, rounded half to even, plus the zero-point, saturated."""
    def one(v, sa, sb):
        factor = float32(float32(sa * sb) / y_scale)
        return saturate(half_even(float32(float32(Fraction(v)) * factor)) + y_zero, kind)
    return [[one(v, a_scale[i], b_scale[j]) for j, v in enumerate(row)] for i, row in enumerate(y)]


# --------------------------------------------------------------------------------------------------------- numbers

draw = random.Random(20240601)


def below(n):
    return draw.getrandbits(40) % n


def power(n):
    return Fraction(2) ** n


def next_to(x, steps):
    """The float32 so many steps further from zero."""
    unit = power(max(floor_log2(abs(x)) - 23, -149))
    return float32(x + (unit if x > 0 else -unit) * steps)


# A power of two, under which ties are floats; scales of all digits; one whose quotients overflow; a subnormal one.
SCALES = [power(-4), float32(Fraction(123, 10000)), float32(Fraction(7, 3)), power(-60), 37 * power(-149), power(20)]


def weights(n, kind, scale, zero):
    """Weights for one block: ties and their neighbours, levels, both ends and beyond, zero, subnormals, others."""
    lo, hi = TYPES[kind]
    out = []
    for _ in range(n):
        level = lo + below(hi - lo + 1) - zero
        tie = float32((level + Fraction(1, 2)) * scale)
        far = (hi - lo + 1) * scale
        choice = below(12)
        if choice < 3:
            out.append(tie)
        elif choice == 3:
            out.append(next_to(tie, 1))
        elif choice == 4:
            out.append(next_to(tie, -1))
        elif choice == 5:
            out.append(float32(level * scale))
        elif choice == 6:
            out.append(float32((hi - zero) * scale + far * Fraction(below(1000), 1000)))
        elif choice == 7:
            out.append(float32((lo - zero) * scale - far * Fraction(below(1000), 1000)))
        elif choice == 8:
            out.append([MOST, -MOST, float32(MOST / 3), -power(100)][below(4)])
        elif choice == 9:
            out.append([Fraction(0), power(-149), -power(-149), (below(2**23) + 1) * power(-149)][below(4)])
        else:
            out.append(float32((lo - zero + (hi - lo) * Fraction(below(2**30), 2**30)) * scale))
    return out


def zero_point(kind, which):
    lo, hi = TYPES[kind]
    return [0, lo, hi, lo + below(hi - lo + 1)][which % 4]


def integers(n, kind):
    lo, hi = TYPES[kind]
    return [[lo, hi, lo + below(hi - lo + 1), lo + below(hi - lo + 1)][below(4)] for _ in range(n)]


# --------------------------------------------------------------------------------------------------------- writing


def braces(values, width=116):
    """One list, in lines that a person can read."""
    lines, line = [], ""
    for i, value in enumerate(values):
        piece = value + (", " if i + 1 < len(values) else "")
        if len(line) + len(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece
    return "{" + "\n     ".join(lines + [line]) + "}"


def floats(values):
    return braces([text(v) for v in values])


def ints(values):
    return braces([str(v) for v in values])


def flat(rows):
    return [v for row in rows for v in row]


ROWS, COLS = 4, 9
# name, the block's rows and columns; 0 is all. The last block is ragged where they do not divide 4 x 9.
LAYOUTS = [
    ("per tensor", 0, 0),
    ("axis 0", 1, 0),
    ("axis 1", 0, 1),
    ("blocks of 4 along axis 1", 1, 4),
    ("blocks of 3 along axis 0", 3, 1),
]


def linear_cases():
    count = 0
    for kind in TYPES:
        for layout, block_rows, block_cols in LAYOUTS:
            high, wide = block_rows or ROWS, block_cols or COLS
            down, across = -(-ROWS // high), -(-COLS // wide)
            scale, zero = [], []
            for _ in range(down * across):
                scale.append(SCALES[count % len(SCALES)])
                zero.append(zero_point(kind, count // 2))
                count += 1
            block = [[i // high * across + j // wide for j in range(COLS)] for i in range(ROWS)]
            x = [[weights(1, kind, scale[b], zero[b])[0] for b in row] for row in block]
            y = [[quantize_linear(v, scale[b], zero[b], kind) for v, b in zip(*rows)] for rows in zip(x, block)]
            yield kind, layout, block_rows, block_cols, scale, zero, flat(x), flat(y), None
            codes = [integers(COLS, kind) for _ in range(ROWS)]
            if layout == "per tensor":
                scale = [power(125)]  # levels at the far end leave the floats
            x = [[dequantize_linear(c, scale[b], zero[b]) for c, b in zip(*rows)] for rows in zip(codes, block)]
            yield kind, layout, block_rows, block_cols, scale, zero, None, flat(codes), flat(x)


def dynamic_cases():
    f = float32
    yield "a range that is a float: both signs", [f(Fraction(v, 8)) for v in (-24, 5, 40, -1, 0, 13, 231)]
    yield "a zero-point between two", [f(Fraction(v, 8)) for v in (-97, 5, 40, -1, 0, 13, 143)]
    yield "a zero-point on a tie, to below", [Fraction(2 * v + 1, 2) for v in (-101, 0, 7, -8, 120, 154)]
    yield "a zero-point on a tie, to above", [Fraction(2 * v + 1, 2) for v in (-102, 0, 7, -8, 120, 153)]
    yield "the smallest is 0", [f(Fraction(below(2**24), 2**20)) for _ in range(9)] + [Fraction(0)]
    yield "no weight is negative", [f(1 + Fraction(below(2**24), 2**22)) for _ in range(9)]
    yield "no weight is positive", [-f(1 + Fraction(below(2**24), 2**22)) for _ in range(9)]
    yield "ties of a scale of 1", [Fraction(-100), Fraction(155)] + [Fraction(2 * below(255) - 199, 2) for _ in range(9)]
    yield "subnormals", [f((below(2**20) - 2**19) * power(-149)) for _ in range(9)]
    for seed in range(12):
        size = power(below(60) - 30)
        yield "a range that is no float, %d" % seed, [
            f((Fraction(below(2**24), 2**23) - Fraction(1, 3)) * size * power(-(i % 3) * 7)) for i in range(12)]


def product_cases():
    count = 0
    for a_kind in ("int8", "uint8"):
        for b_kind in ("int8", "uint8"):
            for inner, zeros in ((1, "one"), (7, "each"), (64, "none"), (65, "each"), (70, "one")):
                rows, cols, plain = 3, 2, count % 2 == 0

                def zero(kind, n):
                    if zeros == "none":
                        return [0] * n
                    if zeros == "one":
                        return [zero_point(kind, 3)] * n
                    return [zero_point(kind, i) for i in range(n)]

                a_zero, b_zero = zero(a_kind, rows), zero(b_kind, cols)
                a = [integers(inner, a_kind) for _ in range(rows)]
                b = [integers(cols, b_kind) for _ in range(inner)]
                if plain:  # small ones, whose sums meet ties and both ends
                    a = [[saturate(z + below(9) - 4, a_kind) for _ in range(inner)] for z in a_zero]
                    b = [[saturate(z + below(9) - 4, b_kind) for z in b_zero] for _ in range(inner)]
                if inner == 70:  # as far as the integers go
                    lo, hi = TYPES[a_kind]
                    a[0], a_zero[0] = [hi] * inner, lo
                    b_lo, b_hi = TYPES[b_kind]
                    for row in b:
                        row[0] = b_lo
                    b_zero[0] = b_hi
                y = mat_mul_integer(a, b, a_zero, b_zero)
                y_kind = ("uint8", "int8")[count % 2]
                a_scale = [power(-5)] * rows if plain else [float32(Fraction(below(900) + 100, 77777)) for _ in range(rows)]
                b_scale = [power(-6)] * cols if plain else [float32(Fraction(below(900) + 100, 99991)) for _ in range(cols)]
                size = max(1, sorted(abs(v) for v in flat(y))[len(flat(y)) // 2])
                # Halves of sums, or what lets most sums fit.
                y_scale = power(-10) if plain else float32(a_scale[0] * b_scale[0] * size / 90)
                y_zero = zero_point(y_kind, count)
                result = q_linear_mat_mul(y, a_scale, b_scale, y_scale, y_zero, y_kind)
                count += 1
                yield (a_kind, b_kind, rows, inner, cols, flat(a), flat(b), a_zero, b_zero, flat(y), y_kind, a_scale,
                       b_scale, y_scale, y_zero, flat(result))


def main():
    print("// Written by make_onnx_vectors.py; a test runs it again. Read by onnx_test.cpp, which has the types.")
    print("\nconst std::vector<LinearCase> linear_cases{")
    for kind, layout, high, wide, scale, zero, x, y, decoded in linear_cases():
        what = "quantize to" if decoded is None else "dequantize from"
        print('\n    {"%s %s, %s", "%s", %d, %d, %d, %d,' % (what, kind, layout, kind, ROWS, COLS, high, wide))
        print("     " + floats(scale) + ",\n     " + ints(zero) + ",")
        print("     " + floats(x or []) + ",\n     " + ints(y) + ",\n     " + floats(decoded or []) + "},")
    print("};\n\nconst std::vector<DynamicCase> dynamic_cases{")
    for name, x in dynamic_cases():
        scale, zero, y = dynamic_quantize_linear(x)
        print('\n    {"%s",\n     %s,\n     %s, %d,\n     %s},' % (name, floats(x), text(scale), zero, ints(y)))
    print("};\n\nconst std::vector<ProductCase> product_cases{")
    for (a_kind, b_kind, rows, inner, cols, a, b, a_zero, b_zero, y, y_kind, a_scale, b_scale, y_scale, y_zero,
         result) in product_cases():
        print('\n    {"%s", "%s", %d, %d, %d,' % (a_kind, b_kind, rows, inner, cols))
        for values in (a, b, a_zero, b_zero, y):
            print("     " + ints(values) + ",")
        print('     "%s", %s, %s,' % (y_kind, floats(a_scale), floats(b_scale)))
        print("     %s, %d, %s}," % (text(y_scale), y_zero, ints(result)))
    print("};")


main()
