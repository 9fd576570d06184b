#!/usr/bin/env bash
# Prints the Debian packages that a private SLURM needs and this machine lacks.
set -euo pipefail
packages="munge slurm-wlm"
[ "${SLURM_ACCOUNTING:-}" = none ] || packages="$packages mariadb-server slurmdbd"
missing=""
for package in $packages; do
  dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
    missing="$missing $package"
done
echo "${missing# }"
