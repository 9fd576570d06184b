#!/usr/bin/env bash
# Run a command beside a private SLURM, which up.sh starts and down.sh stops; the exit code is the command's.
#
#   scripts/slurm/with_slurm.sh COMMAND ARGUMENT...
#
# A SLURM that answers already is used as it is. On Debian, missing packages are installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

fail() { echo "error: $*" >&2; exit 1; }

[ $# -gt 0 ] || fail "usage: scripts/slurm/with_slurm.sh COMMAND ARGUMENT..."
if timeout 10 sinfo --noheader >/dev/null 2>&1; then
  echo "a SLURM answers here and is used: $(timeout 10 scontrol --oneliner show config | grep -oE 'SLURM_CONF += .*')" >&2
  exec "$@"
fi
[ "$(id -u)" = 0 ] || fail "no SLURM answers (sinfo), and only root can start a private one: \
run this as root, for example in a container, or where sinfo answers"
if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
  missing=$("$here/packages.sh")
  if [ -n "$missing" ]; then
    echo "installing" $missing >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    # shellcheck disable=SC2086 # a list
    apt-get install -y -qq --no-install-recommends $missing >&2 || fail "apt-get cannot install" $missing
  fi
fi

folder=$(mktemp -d)
trap '"$here/down.sh" "$folder" && rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM HUP
"$here/up.sh" "$folder" >/dev/null
SLURM_CONF=$folder/slurm.conf "$@"
