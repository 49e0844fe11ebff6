# The recorded vectors are what make_onnx_vectors.py writes, byte for byte.
. "$(dirname "$0")/../support/check.sh"

command -v python3 >/dev/null || skip "no python3 (Debian: apt-get install python3)"
cd "$root/tests/conformance"
python3 make_onnx_vectors.py >"$scratch/vectors" || fail "make_onnx_vectors.py does not run"
cmp "$scratch/vectors" onnx_vectors.inc || fail "other vectors; run: python3 make_onnx_vectors.py > onnx_vectors.inc"
echo "$(grep -c '^    {' onnx_vectors.inc) cases"
