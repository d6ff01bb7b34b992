#!/bin/sh
# The real xTB, after a pause of STAND_IN_SECONDS: a run that is long enough to be disturbed and ends right.
case "$*" in *--version*) exec xtb --version ;; esac
sleep "${STAND_IN_SECONDS:-5}"
exec xtb "$@"
