#!/bin/sh
# An xTB that reports its version and otherwise takes a gigabyte of memory.
case " $* " in
*" --version "*) exec xtb "$@" ;;
esac
exec python3 -c 'kept = bytearray(1 << 30); print(len(kept)); import time; time.sleep(60)'
