#!/bin/sh
# The real xTB, after a pause of STAND_IN_SECONDS, or once the file $STAND_IN_GATE exists: a run that is long enough to
# be disturbed and ends right.
case "$*" in *--version*) exec xtb --version ;; esac
if [ "$STAND_IN_SECONDS" ]; then sleep "$STAND_IN_SECONDS"; else until [ -e "$STAND_IN_GATE" ]; do sleep 0.1; done; fi
exec xtb "$@"
