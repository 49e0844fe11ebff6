#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, corpus/TARGET/seed_*: small inputs of which each reaches another part.

Fields stand in the order in which the target draws them. What an input leaves out is 0, or drawn from its seed.
"""

import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"


def u16(n):
    return struct.pack("<H", n)


def write(target, seeds):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("seed_*"):
        old.unlink()
    for name, data in seeds.items():
        (folder / f"seed_{name}").write_bytes(bytes(data))


def f32(x):
    return struct.pack("<f", x)


# quantize_fuzz.cpp

F32, F16, BF16 = 0, 1, 2
TENSOR, CHANNEL, COLUMN = [0], [1], [2]


def block(rows, cols):
    return [3, rows - 1, cols - 1]


def group(n):
    return [5, n - 1]


def integers(bits, flavour):
    return [5, bits - 1, flavour]


def quantized(grid, granularity, scale=F32, how=0, rows=3, cols=67, by_row=1, size=0, seed=1, weights=b""):
    head = bytes([by_row, scale, *granularity, *grid, how, rows])
    return head + u16(cols) + bytes([(size + 20) % 256]) + u16(seed) + weights


NARROW, FULL, SIGNED, ASYMMETRIC, WITH_ZERO = range(5)
ODD_FLOATS = b"".join(bytes([2 + 8 * k]) for k in range(14))
NAN = bytes([2 + 8 * 12])

write(
    "quantize",
    {
        "narrow_4_groups": quantized(integers(4, NARROW), group(32), F16),
        "narrow_8_channels": quantized(integers(8, NARROW), CHANNEL, rows=2, cols=130),
        "narrow_3_tensor": quantized(integers(3, NARROW), TENSOR, by_row=0),
        "full_2_groups": quantized(integers(2, FULL), group(5), BF16),
        "signed_5_columns": quantized(integers(5, SIGNED), COLUMN, rows=4, cols=21, by_row=0),
        "signed_1_groups": quantized(integers(1, SIGNED), group(64), cols=200),
        "asymmetric_4_groups": quantized(integers(4, ASYMMETRIC), group(128), cols=257, rows=1),
        "asymmetric_16_blocks": quantized(integers(16, ASYMMETRIC), block(2, 33)),
        "with_zero_8_groups": quantized(integers(8, WITH_ZERO), group(16), cols=95),
        "nf4_groups": quantized([0, 0], group(64), cols=150, rows=2),
        "fp4_channels": quantized([0, 3], CHANNEL, cols=33),
        "levels_256": quantized([0, 9], CHANNEL, cols=70, rows=2),
        "drawn_table": quantized([1, 0, 3, 2, 5, 0, 128, 140, 150, 230, 7], group(20), cols=40),
        "shifted_table": quantized([2, 30, 0, 0, 7, 2, 9, 4, 2, 0, 1], group(32), cols=65),
        "odd_integers": quantized([3, 5, 40, 1, *u16(290), 4, 8, 8, 2, 0, 1], group(16), cols=50),
        "fractional_zero": quantized([4, 3, 3, 4, 8, 8, 2, 100, 3], group(16), cols=50),
        "huge_zero": quantized([4, 7, 3, 4, 8, 8, 3, 77, 30], group(16), cols=50),
        "saturating": quantized(integers(4, NARROW), group(7), how=1, rows=2, cols=20, weights=ODD_FLOATS),
        "a_nan": quantized(integers(4, ASYMMETRIC), group(7), rows=2, cols=20, weights=bytes([4, 3, 4, 9, 5]) + NAN),
        "half_overflows": quantized(integers(4, NARROW), group(7), F16, rows=1, cols=9, weights=b"\0" + f32(3e38)),
        "half_away": quantized(integers(4, NARROW), group(32), how=2),
        "stochastic": quantized([0, 0], group(32), how=4),
        "empty": quantized(integers(4, NARROW), CHANNEL, rows=0),
    },
)

# packing_fuzz.cpp

PUT, ROWS, PARAMS, TERNARY = range(4)


def packed(what, bits, n, *more):
    return bytes([what, bits - 1]) + u16(n) + bytes(more)


seeds = {f"rows_{bits}_bits": packed(ROWS, bits, 130 + bits, bits % 2, 1, 1, 1, bits, 255, 0, 5) for bits in range(1, 17)}
seeds |= {f"table_{bits}_bits": packed(ROWS, bits, 95 + bits, bits % 2, 0, 255, bits, 3, 1) for bits in (1, 2, 3, 4, 6, 8)}
seeds |= {f"put_{bits}_bits": packed(PUT, bits, 9, bits % 2, *[165] * (2 * bits)) + bytes(range(7, 47)) for bits in (1, 3, 8, 13)}
seeds |= {f"params_{name}": packed(PARAMS, 4, 37, 0, scale, zeros, 9) for scale, zeros, name in
          ((F32, 0, "f32"), (F16, 1, "f16_codes"), (BF16, 2, "bf16_floats"), (F16, 3, "f16_negative"))}
seeds["ternary"] = packed(TERNARY, 1, 47, 0, 5, 0, 3)
seeds["ternary_spoilt"] = packed(TERNARY, 1, 11, 0, 2, 1, 3, *[0, 1, 2, 1] * 4, 3)
write("packing", seeds)

# product_fuzz.cpp


def product(width, kind, granularity, scale=F32, whole=0, batch=2, wide=0, rows=6, cols=150, extremes=0, zeros=1,
            spread=3, coded=0, mapped=0, seed=1, activations=0):
    head = bytes([whole]) + u16(seed) + bytes([1 - wide, batch])
    levels = [width, kind] if whole else [0, width, kind]
    head += bytes([*levels, scale, *granularity, rows]) + u16(cols) + bytes([extremes, zeros, spread])
    return head + bytes([*([] if whole else [coded]), mapped, activations, 12])


def product_group(log):
    return [5, log - 4]


W4, W8, W2, W1, W16 = 0, 1, 2, 5, 15
FROM_HALF, FROM_0, SYMMETRIC = range(3)
WHOLE = 3

write(
    "product",
    {
        "w4_group_128": product(W4, SYMMETRIC, product_group(7), F16, cols=300),
        "w4_group_32": product(W4, FROM_0, product_group(5), batch=0),
        "w4_tensor": product(W4, FROM_HALF, TENSOR, zeros=0),
        "w4_fractional": product(W4, FROM_0, product_group(6), zeros=2),
        "w4_far_zero": product(W4, FROM_0, product_group(6), zeros=3),
        "w4_cancelling": product(W4, FROM_0, product_group(5), zeros=4, extremes=1, cols=32),
        "w8_cancelling": product(W8, FROM_0, CHANNEL, zeros=4, extremes=1, cols=9),
        "w4_odd_group": product(W4, SYMMETRIC, [4, 12], batch=3),
        "w8_channel": product(W8, SYMMETRIC, CHANNEL, BF16, cols=200),
        "w8_zero": product(W8, FROM_0, CHANNEL, extremes=1, activations=1),
        "w8_columns": product(W8, FROM_0, COLUMN, cols=40),
        "w8_wide": product(W8, SYMMETRIC, product_group(6), batch=27, wide=1),
        "w2_ternary": product(W2, SYMMETRIC, product_group(6), zeros=0, cols=131),
        "w2_ternary_wide": product(W2, SYMMETRIC, [3, 2, 40], batch=26, wide=1, cols=77),
        "w1": product(W1, FROM_HALF, product_group(5), cols=99),
        "w16": product(W16, FROM_0, product_group(5), cols=60),
        "table": bytes([0]) + u16(5) + bytes([1, 2, 5, 14, 3, 0, 5, 2, 6]) + u16(130) + bytes([0, 0, 3]),
        "short_floats": bytes([0]) + u16(5) + bytes([1, 2, 7, 0, 5, 1, 6]) + u16(130) + bytes([0, 0, 3]),
        "coded_scales": product(W4, SYMMETRIC, product_group(4), coded=1),
        "ordered": product(W4, SYMMETRIC, product_group(5), mapped=1),
        "scaled": product(W4, FROM_0, product_group(5), mapped=2),
        "mapped": product(W8, FROM_0, CHANNEL, mapped=3, batch=1),
        "whole_4": product(W4, FROM_0, product_group(5), whole=WHOLE, cols=333, rows=9),
        "whole_8": product(W8, FROM_HALF, CHANNEL, whole=WHOLE, cols=270, extremes=1),
        "whole_mapped": product(W4, SYMMETRIC, product_group(5), whole=WHOLE, mapped=3),
        "spoilt": product(W4, SYMMETRIC, product_group(5)) + bytes([0, 12, 1, 5, 1, 0]),
        "empty": product(W4, SYMMETRIC, CHANNEL, rows=0),
        "no_columns": product(W4, SYMMETRIC, CHANNEL, batch=0, wide=1, cols=300),
    },
)

# npy_fuzz.cpp


def npy(dictionary, data=b"", version=1, pad=True):
    start = 10 if version == 1 else 12
    header = dictionary.encode()
    if pad:
        header += b" " * (63 - (start + len(header)) % 64) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def dictionary(descr, shape, fortran=False):
    return f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"


arrays = {}
for letter, code in (("f2", "e"), ("f4", "f"), ("f8", "d"), ("i1", "b"), ("i2", "h"), ("i4", "i"), ("i8", "q"),
                     ("u1", "B"), ("u2", "H"), ("u4", "I"), ("u8", "Q")):
    numbers = (0, 1, 2, 100, 7, 31) if letter[0] == "u" else (0, -1, 2, -100, 7, 31)
    order = ">" if letter in ("f8", "i2", "u4") else "|" if letter[1] == "1" else "<"
    packing = ("<" if order == "|" else order) + "6" + code
    arrays[letter] = npy(dictionary(order + letter, "(2, 3)"), struct.pack(packing, *numbers))
arrays["b1"] = npy(dictionary("|b1", "(2, 2)"), bytes([0, 1, 255, 0]))
arrays["odd_floats"] = npy(dictionary("<f4", "(5,)"), bytes.fromhex("00000080 0000807f 0000c0ff 01000000 3412c07f"))
arrays["odd_halves"] = npy(dictionary(">f2", "(5,)"), bytes.fromhex("8000 7c00 fe00 0001 7bff"))
arrays["odd_doubles"] = npy(dictionary("<f8", "(3,)"), struct.pack("<3d", float("inf"), 1e300, 1e-46))
arrays["fortran"] = npy(dictionary("<f4", "(2, 3)", True), struct.pack("<6f", *range(6)))
arrays["scalar"] = npy(dictionary("<f4", "()"), f32(7))
arrays["no_elements"] = npy(dictionary("<f4", "(5, 0)"))
arrays["rows_of_nothing"] = npy(dictionary("<f4", "(9000000000000000000, 0)"))
arrays["version_2"] = npy(dictionary("<f4", "(1, 2)"), struct.pack("<2f", 1, 2), version=2)
arrays["version_3"] = npy(dictionary("<f4", "(1, 2)"), struct.pack("<2f", 1, 2), version=3)
arrays["tight"] = npy("{'shape':(2,),\"descr\":'=i1','fortran_order':True}", bytes([1, 2]), pad=False)
# Near to a file, and none.
arrays["three_dimensions"] = npy(dictionary("<f4", "(1, 1, 3)"), bytes(12))
arrays["complex"] = npy(dictionary("<c8", "(1, 1)"), bytes(8))
arrays["structured"] = npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", bytes(4), pad=False)
arrays["unclosed"] = npy("{'descr': '<f4", bytes(4), pad=False)
arrays["twice"] = npy("{'shape': (1,), 'shape': (1,), 'descr': '<f4', 'fortran_order': False}", bytes(4), pad=False)
arrays["too_long"] = npy(dictionary("<f4", "(4611686018427387904, 4)"), pad=False)
write("npy", arrays)
