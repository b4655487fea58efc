# The walls of the house: layers, purity, libraries, warnings of both compilers, man pages against the code.
one check-layers 60 test/check-layers.sh "$B"
one check-libs 60 test/check-libs.sh "$B"
one check-catalog 60 test/check-catalog.sh "$B"
one check-man 60 test/check-man.sh "$B"
quietly "clang builds without a warning" make -s -j2 CC=clang B="$B/clang" all
