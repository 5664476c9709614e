#!/usr/bin/env bash
# Prints an llvm-profdata that reads what rustc's LLVM writes: the toolchain's own (rustup component add
# llvm-tools), else the newest from 19 on, whose form of profiles is still today's.
set -euo pipefail

own="$(rustc --print target-libdir)/../bin/llvm-profdata"
if [ -x "$own" ]; then
    echo "$own"
    exit
fi
newest="$(compgen -G '/usr/lib/llvm-*/bin/llvm-profdata' | sort -V | tail -n 1)" || true
version="${newest#/usr/lib/llvm-}"
if [ -n "$newest" ] && [ "${version%%/*}" -ge 19 ]; then
    echo "$newest"
    exit
fi
echo 'There is no llvm-profdata of LLVM 19 or later: rustup component add llvm-tools' >&2
exit 1
