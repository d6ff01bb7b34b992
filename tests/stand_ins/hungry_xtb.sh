#!/bin/sh
# Stands in for an xTB that needs more memory than its container has: `tail` keeps all of its input.
if [ "$1" = --version ]; then echo "   * xtb version 6.7.1 (stand-in)"; exit 0; fi
echo "started"
head -c 1500M /dev/zero | tail -c 1400M >/dev/null || exit 137
echo "          | TOTAL ENERGY               -5.070544440612 Eh   |"
echo "normal termination of xtb"
