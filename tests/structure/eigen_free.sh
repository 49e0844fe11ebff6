# The layers above the Eigen line compile and work with no Eigen on the include path: a folder of #errors stands where
# Eigen would be found.
. "$(dirname "$0")/../support/check.sh"

mkdir -p "$scratch/shadow/Eigen" "$scratch/shadow/unsupported/Eigen"
for name in $(ls "$eigen/Eigen") Core Dense; do
  echo "#error \"Eigen/$name was included above the Eigen line\"" >"$scratch/shadow/Eigen/$name"
done

cd "$root/include"
layers="fewbit/core fewbit/kernel fewbit/grid fewbit/estimate fewbit/storage"
find fewbit/config.hpp $layers -name '*.hpp' | sort | sed 's/.*/#include <&>/' >"$scratch/lower.hpp"
[ "$(wc -l <"$scratch/lower.hpp")" -gt 5 ] || fail "no lower headers"
flags="-std=c++20 $clean -I $scratch/shadow -I $root/include -I $scratch"
$cxx $flags -M "$root/tests/structure/eigen_free.cpp" >"$scratch/depends" || fail "the lower layers include Eigen"
if grep -E '/(Eigen|unsupported)/' "$scratch/depends"; then fail "the lower layers include Eigen"; fi
$cxx $flags -O1 "$root/tests/structure/eigen_free.cpp" -o "$scratch/eigen_free" || fail "the lower layers do not compile"
"$scratch/eigen_free" || fail "the lower layers do not work alone"
