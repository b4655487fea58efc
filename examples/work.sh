#!/bin/sh
# What the example's partitions do: a line now and then, and the rest of the time nothing.
trap 'echo "asked to stop"; exit 0' TERM INT
n=0
echo "$(hostname) starts on $(nproc) CPU(s)"
while :; do
    n=$((n + 1))
    echo "$(hostname) has worked $n times"
    sleep 10 &
    wait $!
done
