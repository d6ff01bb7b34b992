#!/bin/sh
# Stands in for xTB where a test needs a run that hangs. The comment line of the structure says how it behaves:
#   still=stop (stops itself)  idle (sleeps)  spin (uses CPU for ever)  busy (uses CPU until the file $STAND_IN_GATE
#   exists)  sleepy (sleeps until it exists), each after a first line of output;  hangs=1 (does so in the first attempt
#   only)
if [ "$1" = --version ]; then echo "   * xtb version 6.7.1 (stand-in)"; exit 0; fi
still='' hangs=99
eval "$(sed -n 2p "$1" | tr -cd 'a-z0-9=. ')"
echo "started $$ $QMRUNNER_ATTEMPT"
if [ "${QMRUNNER_ATTEMPT##*/}" -le "$hangs" ]; then
  case "$still" in
    stop) kill -STOP $$ ;;
    idle) sleep 3600 ;;
    spin) while :; do :; done ;;
    busy) until [ -e "$STAND_IN_GATE" ]; do :; done ;;
    sleepy) until [ -e "$STAND_IN_GATE" ]; do sleep 1; done ;;
  esac
fi
echo "$QMRUNNER_ATTEMPT" > energy
echo "          | TOTAL ENERGY               -5.070544440612 Eh   |"
echo " * finished run on 2026/01/01 at 00:00:00.000"
echo "normal termination of xtb"
