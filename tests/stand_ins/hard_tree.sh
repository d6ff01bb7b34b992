#!/bin/sh
# A process tree that does not want to end: each member prints "member PID" once it is what it is meant to be.
sh -c 'trap "" TERM; echo "member $$"; while :; do sleep 60; done' &
sh -c 'echo "member $$"; kill -STOP $$; sleep 300' &
setsid env -i sh -c 'echo "member $$"; exec /bin/sleep 300' &
( ( setsid env -i sh -c 'trap "" TERM; echo "member $$"; while :; do /bin/sleep 60; done' & ) & )
echo "member $$"
while :; do sleep 60; done
