#!/usr/bin/env bash
# A private SLURM on this machine: no systemd, nothing in /etc, its whole state below one folder.
#
#   scripts/slurm/up.sh FOLDER && export SLURM_CONF=FOLDER/slurm.conf
#   scripts/slurm/down.sh FOLDER
#
# It claims 16 CPUs, so that jobs start at once; a job in the partition `urgent` preempts those in `debug`.
#   SLURM_ACCOUNTING=none   no slurmdbd and no MariaDB: sacct fails, as on a cluster without accounting
#   SLURM_MAX_ARRAY=1001    a job array's indices are smaller than this
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

fail() { echo "error: $*" >&2; exit 1; }

[ $# -eq 1 ] || fail "usage: scripts/slurm/up.sh FOLDER"
[ "$(id -u)" = 0 ] || fail "a private SLURM has to be started by root: it starts jobs for any user"
accounting=${SLURM_ACCOUNTING:-slurmdbd}
case $accounting in slurmdbd | none) ;; *) fail "SLURM_ACCOUNTING=$accounting is not allowed: it must be slurmdbd or none" ;; esac
case ${SLURM_MAX_ARRAY:=1001} in *[!0-9]*) fail "SLURM_MAX_ARRAY=$SLURM_MAX_ARRAY is not allowed: it must be a number" ;; esac
PATH=$PATH:/usr/sbin:/sbin
needed="munged slurmctld slurmd sbatch"
[ "$accounting" = none ] || needed="$needed slurmdbd mariadbd mariadb-install-db"
for program in $needed; do
  command -v "$program" >/dev/null ||
    fail "$program is missing: apt-get install -y --no-install-recommends $("$here/packages.sh")"
done

mkdir -p "$1"
root=$(cd "$1" && pwd)
[ -z "$(ls -A "$root")" ] || fail "$root is not empty: name a new folder"
[ ${#root} -le 80 ] || fail "$root is too long a name: the paths of sockets have 107 characters at most"
case $root in *[!A-Za-z0-9/._-]*) fail "$root: only letters, digits and ._- may stand in the folder's name" ;; esac
mkdir "$root"/{db,log,run,spool,state,tmp}
chmod 755 "$root" "$root/run"
# what down.sh knows the daemons by; SLURM_CONF is also what their children and clients need
export SLURM_PRIVATE=$root SLURM_CONF=$root/slurm.conf
trap '[ $? = 0 ] || { tail -n 5 "$root"/log/* >&2; env -u SLURM_PRIVATE "$here/down.sh" "$root"; }' EXIT

node=$(uname -n)
node=${node%%.*}
cpus=16
memory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)

# three ports in a row that nobody listens on, below those that the kernel gives to outgoing connections
is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
until port=$((20000 + 4 * (RANDOM % 2500))) && is_free $port && is_free $((port + 1)) && is_free $((port + 2)); do :; done

# wait_for WHAT SECONDS COMMAND...: until the command succeeds
wait_for() {
  local what=$1 deadline=$((SECONDS + $2))
  shift 2
  until timeout 5 "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || fail "$what does not answer"
    sleep 0.1
  done
}

head -c 1024 /dev/urandom >"$root/munge.key"
chmod 600 "$root/munge.key"
# --force: munged dislikes folders that others may enter; --origin: the machine's name need not resolve
munged --force --origin=127.0.0.1 --key-file="$root/munge.key" --seed-file="$root/munge.seed" \
  --socket="$root/run/munge.socket" --pid-file="$root/run/munged.pid" --log-file="$root/log/munged.log" \
  2>>"$root/log/munged.log"

storage=accounting_storage/none
if [ "$accounting" = slurmdbd ]; then
  storage=accounting_storage/slurmdbd
  cat >"$root/my.cnf" <<CONF
[mariadbd]
user = root
datadir = $root/db
tmpdir = $root/tmp
socket = $root/run/mariadb.socket
pid-file = $root/run/mariadbd.pid
log-error = $root/log/mariadbd.log
skip-networking
innodb_buffer_pool_size = 64M
innodb_log_file_size = 16M
innodb_flush_log_at_trx_commit = 0
innodb_lock_wait_timeout = 900
CONF
  mariadb-install-db --defaults-file="$root/my.cnf" --auth-root-authentication-method=socket --skip-test-db \
    >"$root/log/mariadb-install-db.log" 2>&1
  setsid mariadbd --defaults-file="$root/my.cnf" </dev/null >>"$root/log/mariadbd.log" 2>&1 &
  wait_for MariaDB 30 mariadb-admin --socket="$root/run/mariadb.socket" ping
  cat >"$root/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$root/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((port + 2))
SlurmUser=root
PidFile=$root/run/slurmdbd.pid
LogFile=$root/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
CommitDelay=1
CONF
  chmod 600 "$root/slurmdbd.conf"
fi

cat >"$SLURM_CONF" <<CONF
ClusterName=private
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$root/run/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/spool
SlurmctldPidFile=$root/run/slurmctld.pid
SlurmdPidFile=$root/run/slurmd.pid
SlurmctldLogFile=$root/log/slurmctld.log
SlurmdLogFile=$root/log/slurmd.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=$storage
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 2))
AccountingStoragePass=$root/run/munge.socket
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=5
MinJobAge=300
MaxArraySize=$SLURM_MAX_ARRAY
MaxJobCount=50000
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory
PartitionName=debug Nodes=ALL Default=YES PriorityTier=1 GraceTime=2
PartitionName=urgent Nodes=ALL PriorityTier=10
CONF

if [ "$accounting" = slurmdbd ]; then
  MYSQL_UNIX_PORT=$root/run/mariadb.socket slurmdbd
  wait_for slurmdbd 30 sacctmgr --noheader show cluster
  sacctmgr --immediate add cluster private >/dev/null
fi
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF" -N "$node"
is_idle() { [ "$(sinfo --noheader --partition=debug --format=%T)" = idle ]; }
export -f is_idle
wait_for SLURM 30 bash -c is_idle
echo "export SLURM_CONF=$SLURM_CONF"
