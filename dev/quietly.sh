#!/bin/sh
# Run a command and show what it printed only if it failed.
set -u
output=$("$@" 2>&1)
status=$?
[ "$status" -eq 0 ] || printf '%s\n' "$output"
exit "$status"
