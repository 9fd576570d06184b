#!/usr/bin/env bash
# Stop the SLURM that up.sh started in FOLDER, and its jobs, whatever state it is in; the folder stays.
#
#   scripts/slurm/down.sh FOLDER
set -eu # without pipefail: grep complains of processes that have just ended

[ $# -eq 1 ] && [ -d "$1" ] || { echo "error: usage: scripts/slurm/down.sh FOLDER" >&2; exit 1; }
root=$(cd "$1" && pwd)

pids() { grep -oE '[0-9]+' || true; }

daemons() { # by the mark that up.sh gives them
  grep -lzxF "SLURM_PRIVATE=$root" /proc/[0-9]*/environ 2>/dev/null | pids
}

jobs_of_it() { # by what SLURM tells them, and SLURM's own helpers by where they are: they overwrite their environment
  local folder
  grep -lzxF "SLURM_CONF=$root/slurm.conf" /proc/[0-9]*/environ 2>/dev/null |
    xargs -r grep -lzE '^SLURM_JOB_ID=' 2>/dev/null | pids
  for folder in /proc/[0-9]*; do
    if [ "$folder/cwd" -ef "$root/log" ] && grep -qE '^slurm(stepd|scriptd)' "$folder/comm" 2>/dev/null; then
      echo "${folder#/proc/}"
    fi
  done
}

stop() { # stop SIGNAL PID...: those that are still there
  local signal=$1
  shift
  [ $# -eq 0 ] || kill -s "$signal" "$@" 2>/dev/null || true
}

# shellcheck disable=SC2046 # lists of numbers
stop TERM $(daemons)
for attempt in $(seq 50); do
  stop KILL $(jobs_of_it)
  left=$(daemons)
  [ -n "$left" ] || break
  [ "$attempt" -lt 10 ] || stop KILL $left
  sleep 0.1
done
stop KILL $(jobs_of_it)
[ -z "$(daemons)" ] || { echo "error: these processes do not end:" $(daemons) >&2; exit 1; }
