#!/usr/bin/env bash
# `serve` and Samba's smbd beside each other under the same load: how many opens, breaks and reconnects a second.
#
#   tests/interop/race.sh              five rounds of three seconds for each work
#   QUICK=1 tests/interop/race.sh      one round of half a second: does it work at all
#
# Both servers are up all the time, each with all of its processes on CPU 0; the load is on CPU 1. They take turns within each
# round, and the medians are printed. What an operation is: the head of src/bin/load/main.rs. Dialect 3.1.1, anonymous, hence
# without signatures. smbd has its files, its share and its state on tmpfs, if there is one, and nothing switched on that costs time and is not asked for.
#
# smbd is looked for in $LAB/root (a chroot, for which one has to be root) and then in PATH.
#
# SERVE, LOAD     the programs; built if they are not given
# SERVE_ARGS      how serve is started: @PORT@ is replaced by the port; the share has to be named `share`
# SERVERS         "serve smbd"; one of them alone can be measured as well
# AUTH            NAME:PASSWORD instead of anonymous sessions; smbd wants a user of that name in its passwd file
# SIGN=1          with AUTH: all is signed
# WORKS           lines of: work, connections, further options of load
# ROUNDS, SECONDS_EACH, PORT
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
release="${CARGO_TARGET_DIR:-$top/target}/release"
LAB=${LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/leasehold-lab}
SERVE_ARGS=${SERVE_ARGS:---listen 127.0.0.1:@PORT@ --store memory}
SERVERS=${SERVERS:-serve smbd}
AUTH=${AUTH:-}
PORT=${PORT:-4460}
SHARE=share
if [ -n "${QUICK:-}" ]; then ROUNDS=${ROUNDS:-1} SECONDS_EACH=${SECONDS_EACH:-0.5}; fi
ROUNDS=${ROUNDS:-5}
SECONDS_EACH=${SECONDS_EACH:-3}
WORKS=${WORKS:-"open-close 1
open-close 8
open-close 64
ping-pong 2
ping-pong 16
reconnect 1 --handles 1000 --pause 300"}

die() { echo "race: $*" >&2; exit 1; }
auth=() who='anonymous, not signed'
if [ -n "$AUTH" ]; then
  auth=(--user "${AUTH%%:*}" --password "${AUTH#*:}") who='NTLMv2, not signed beyond what 3.1.1 wants'
  if [ -n "${SIGN:-}" ]; then auth+=(--sign) who='NTLMv2, all signed by AES-128-CMAC'; fi
  SERVE_ARGS="$SERVE_ARGS --user $AUTH"
fi

command -v taskset >/dev/null || die "taskset is missing (util-linux)"
[ "$(nproc --all)" -ge 2 ] || die "two CPUs are needed"

groups=()
scratch=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/race.XXXXXX") || die "no room for temporary files"
chmod 755 "$scratch"
clean_up() {
  trap - EXIT
  local group
  for group in "${groups[@]}"; do kill -TERM -- "-$group" 2>/dev/null; done
  for _ in $(seq 1 30); do
    local alive=
    for group in "${groups[@]}"; do kill -0 -- "-$group" 2>/dev/null && alive=1; done
    [ -n "$alive" ] || break
    sleep 0.1
  done
  for group in "${groups[@]}"; do kill -KILL -- "-$group" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# build: both programs, unless they were given
build() {
  local bins=()
  [ -n "${LOAD:-}" ] || bins+=(--bin load)
  [ -n "${SERVE:-}" ] || case " $SERVERS " in *" serve "*) bins+=(--bin serve);; esac
  LOAD=${LOAD:-$release/load} SERVE=${SERVE:-$release/serve}
  [ ${#bins[@]} -eq 0 ] || (cd "$top" && cargo build --quiet --release -p leasehold-interop "${bins[@]}") || die "cargo build failed"
}

# await PORT NAME: until a server listens
await() {
  for _ in $(seq 1 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
    kill -0 "${groups[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  cat "$scratch/$2.out" >&2
  die "$2 does not listen on port $1"
}

# start NAME PORT COMMAND...: on CPU 0, in a process group of its own
start() {
  local name=$1 port=$2
  shift 2
  setsid taskset -c 0 "$@" >"$scratch/$name.out" 2>&1 </dev/null &
  groups+=($!)
  await "$port" "$name"
}

start_serve() {
  [ -x "$SERVE" ] || die "no $SERVE"
  # shellcheck disable=SC2086 # words
  start serve "$1" "$SERVE" ${SERVE_ARGS//@PORT@/$1}
}

start_smbd() {
  local port=$1 root='' smbd dir="$scratch/smbd" seen
  if [ -x "$LAB/root/usr/sbin/smbd" ] && [ "$(id -u)" = 0 ]; then
    root=$LAB/root smbd=/usr/sbin/smbd seen=/mnt
  else
    smbd=$(PATH=$PATH:/usr/sbin command -v smbd) || die "no smbd in $LAB/root or PATH"
    seen=$dir
  fi
  mkdir -p "$dir"/{private,lock,state,cache,pid,ncalrpc,share}
  chmod 700 "$dir/private"
  chmod 1777 "$dir/share"
  cat >"$dir/smb.conf" <<CONF
[global]
	server role = standalone server
	netbios name = RACE
	interfaces = 127.0.0.1/8
	bind interfaces only = yes
	disable netbios = yes
	hostname lookups = no
	private dir = $seen/private
	lock directory = $seen/lock
	state directory = $seen/state
	cache directory = $seen/cache
	pid directory = $seen/pid
	ncalrpc dir = $seen/ncalrpc
	log file = $seen/log
	log level = 0
	passdb backend = tdbsam:$seen/private/passdb.tdb
	load printers = no
	printing = bsd
	printcap name = /dev/null
	disable spoolss = yes
	map to guest = Bad User
	restrict anonymous = 0
	server min protocol = SMB2_02
	server signing = auto
	server smb encrypt = off
	smb2 leases = yes
	oplocks = yes
	level2 oplocks = yes
	durable handles = yes
	kernel oplocks = no
	kernel share modes = no
	posix locking = no
	strict sync = no
	store dos attributes = no
	ea support = no
	map archive = no
[$SHARE]
	path = $seen/share
	read only = no
	guest ok = yes
	create mask = 0666
	directory mask = 0777
CONF
  if [ -n "$AUTH" ]; then printf '%s\n%s\n' "${AUTH#*:}" "${AUTH#*:}" >"$dir/password"; fi
  : >"$dir/empty"
  echo 'hosts: files' >"$dir/nsswitch.conf"
  local command="$smbd --foreground --no-process-group -p $port -s $seen/smb.conf"
  if [ -n "$AUTH" ]; then
    command="smbpasswd -c $seen/smb.conf -s -a '${AUTH%%:*}' <$seen/password && exec $command"
    [ -z "$root" ] || command="sh -c \"$command\""
  else
    command="exec $command"
  fi
  if [ "$(id -u)" = 0 ]; then
    # Mounts of its own, which go when it goes: its folder in the chroot, and nobody to ask for names of hosts.
    local into=''
    [ -z "$root" ] || into="mount --bind '$dir' '$root/mnt' && exec chroot '$root' ${command#exec }"
    command="mount --bind '$dir/empty' '$root/etc/resolv.conf' && mount --bind '$dir/nsswitch.conf' '$root/etc/nsswitch.conf' \
      && ${into:-$command}"
    start smbd "$port" unshare --mount sh -c "$command"
  else
    start smbd "$port" sh -c "$command"
  fi
}

port_of() { case $1 in serve) echo "$PORT";; smbd) echo $((PORT + 1));; *) die "$1: no such server";; esac; }

# median FORMAT: of numbers, a line each
median() { sort -n | awk -v f="$1" '{v[NR] = $1} END {if (NR) printf f, NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; else print "-"}'; }

# field FILE NAME: all values of NAME= in a file
field() { sed -nE "s/.* $2=([0-9.]+).*/\1/p" "$1"; }

build
read -r busy_before _ </proc/loadavg
for server in $SERVERS; do "start_$server" "$(port_of "$server")"; done

failures=0
for round in $(seq 1 "$ROUNDS"); do
  # Who begins changes, too.
  order=$SERVERS
  [ $((round % 2)) = 1 ] || order=$(tr ' ' '\n' <<<"$SERVERS" | tac)
  index=0
  while read -r work connections options; do
    index=$((index + 1))
    for server in $order; do
      out="$scratch/$server.$index"
      # shellcheck disable=SC2086 # words
      if ! taskset -c 1 "$LOAD" --server "127.0.0.1:$(port_of "$server")" --share $SHARE --work "$work" \
        --connections "$connections" --seconds "$SECONDS_EACH" "${auth[@]}" $options >>"$out" 2>"$scratch/error"; then
        failures=$((failures + 1))
        echo "$server, $work $connections: $(cat "$scratch/error")" >&2
      fi
    done
  done <<<"$WORKS"
done

echo "medians of $ROUNDS rounds of $SECONDS_EACH s; dialect 3.1.1, $who; servers on CPU 0, load on CPU 1"
echo "load average before: $busy_before; whatever else runs takes from these numbers"
echo "busy: how much of its CPU the load took, at most; total: a reconnect with all handles, from connecting on"
case " $SERVERS " in *" smbd "*) [ -n "${smbd_version:=$( { chroot "$LAB/root" smbd --version || smbd --version; } 2>/dev/null)}" ] && echo "smbd: $smbd_version";; esac
printf '%-12s %11s' work connections
for server in $SERVERS; do printf ' %12s' "$server /s"; done
printf ' %7s %6s  %s\n' ratio busy total
index=0
while read -r work connections _; do
  index=$((index + 1))
  printf '%-12s %11s' "$work" "$connections"
  rates=() busiest=0 totals=
  for server in $SERVERS; do
    out="$scratch/$server.$index"
    touch "$out"
    rate=$(field "$out" rate | median %.0f)
    rates+=("$rate")
    busy=$(field "$out" busy | sort -n | tail -n 1)
    [ "${busy:-0}" -gt "$busiest" ] && busiest=$busy
    total=$(field "$out" total | median %.3f)
    [ "$total" = - ] || totals="$totals $server ${total}s"
    printf ' %12s' "$rate"
  done
  ratio=$(awk -v a="${rates[0]}" -v b="${rates[1]:-0}" 'BEGIN {if (a + 0 && b + 0) printf "%.2f", a / b; else print "-"}')
  printf ' %7s %5s%% %s\n' "$ratio" "$busiest" "$totals"
done <<<"$WORKS"
[ $failures = 0 ] || die "$failures runs failed"
