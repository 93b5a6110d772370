#!/usr/bin/env bash
# Takes files and lines out of programs: split-symbols.sh PROGRAM... moves those of each to PROGRAM.debug. The program keeps the names of
# its functions and statics, and says lines again where PROGRAM.debug lies beside it: in a panic, in perf and in gdb. Needs binutils, as linking does.
set -euo pipefail
for program; do
  # What cargo has not linked anew is done already. Without -q: grep that leaves early ends readelf by a signal, and pipefail takes that for no match.
  if ! readelf --section-headers --wide "$program" | grep ' \.debug_line ' >/dev/null; then continue; fi
  objcopy --only-keep-debug --compress-debug-sections=zlib "$program" "$program.debug"
  # A new file: in cargo's folder the program is a link to the one that cargo keeps.
  objcopy --strip-debug --wildcard --strip-symbol='GCC_except_table*' --strip-symbol='anon.*' \
    --add-gnu-debuglink="$program.debug" "$program" "$program.split"
  chmod 644 "$program.debug"
  mv "$program.split" "$program"
done
