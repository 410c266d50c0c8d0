#!/usr/bin/env bash
# Our client machine before a server of SMB: `probe` with Samba's smbd. What is given is handed on, as in `probe.sh --wait 65`.
#
# smbd has a folder and a port of its own; nothing of the system's is touched. Without smbd the status is 77, else that of `probe`.
#
#   SERVER  where to look for one, in this order (default: here lab): `here` is the smbd in PATH, `lab` that of the Debian chroot
#           $LAB/root, for root only, `serve` our own server
#   PROBE   the program (default: built first)
#   SERVE   our server (default: built first)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
target="${CARGO_TARGET_DIR:-$root/target}"
LAB="${LAB:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/leasehold-lab}"
PATH="$PATH:/usr/sbin"
# A user of smbd's is one of the system's: whoever runs this, or, for root, nobody.
user="$(id -un)" password=Probe-Pass-1 port=$((20000 + RANDOM % 10000)) scratch='' server='' without=()
[ "$user" != root ] || user=nobody

stop() {
    if [ -n "$server" ]; then
        kill -TERM -- "-$server" 2> /dev/null || true
        for _ in $(seq 30); do
            kill -0 -- "-$server" 2> /dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$server" 2> /dev/null || true
        wait 2> /dev/null || true
    fi
    [ -z "$scratch" ] || rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

fail() {
    echo "probe.sh: $*" >&2
    cat "$scratch"/log/* >&2
    exit 2
}

# What runs smbd, and the folder that it takes for the root.
found='' prefix=() base=''
for place in ${SERVER:-here lab}; do
    case "$place" in
        here) ! command -v smbd > /dev/null || found=here ;;
        lab)
            if [ -x "$LAB/root/usr/sbin/smbd" ] && [ "$(id -u)" = 0 ]; then
                found=lab prefix=(chroot "$LAB/root") base="$LAB/root"
            fi
            ;;
        serve) found=serve ;;
        *) echo "probe.sh: SERVER=$place?" >&2; exit 2 ;;
    esac
    [ -z "$found" ] || break
done
if [ -z "$found" ]; then
    echo "left out: there is no smbd here (Debian: apt-get install samba)"
    exit 77
fi

smbd_conf() { # DIR VERSION
    since() { [ "$(printf '%s\n' "$1" "$version" | sort -V | head -n 1)" = "$1" ]; }
    local dir=$1 version=$2
    cat << CONF
[global]
    server role = standalone server
    interfaces = 127.0.0.1/8
    bind interfaces only = yes
    disable netbios = yes
    hostname lookups = no
    private dir = $dir/private
    lock directory = $dir/lock
    state directory = $dir/state
    cache directory = $dir/cache
    pid directory = $dir/pid
    ncalrpc dir = $dir/ncalrpc
    log file = $dir/log/smbd
    log level = 1
    passdb backend = tdbsam:$dir/private/passdb.tdb
    load printers = no
    printing = bsd
    printcap name = /dev/null
    disable spoolss = yes
    server min protocol = SMB2_02
    server multi channel support = yes
    smb2 leases = yes
    # What is durable must not be seen by anybody but smbd.
    durable handles = yes
    kernel oplocks = no
    kernel share modes = no
    posix locking = no
    read only = no
CONF
    if since 4.22; then echo '    smb3 directory leases = yes'; fi
    if since 4.25; then echo '    persistent handles = yes'; fi
    printf '[%s]\n    path = %s/%s\n' share "$dir" share continuous "$dir" continuous
    if since 4.25; then
        printf '    %s\n' 'continuous availability = yes' 'smb3 share cap:CLUSTER = yes' 'smb3 share cap:SCALE OUT = no' \
            'smb3 ca:max lease mask = RWH'
    fi
}

start_smbd() {
    local dir="${scratch#"$base"}" version
    mkdir "$scratch"/{private,lock,state,cache,pid,ncalrpc,share,continuous}
    chmod 700 "$scratch/private"
    chmod 777 "$scratch"/{share,continuous}
    version="$("${prefix[@]}" smbd --version | sed 's/^Version //')"
    smbd_conf "$dir" "$(grep -oE '^[0-9]+\.[0-9]+' <<< "$version")" > "$scratch/smb.conf"
    printf '%s\n%s\n' "$password" "$password" |
        "${prefix[@]}" pdbedit -s "$dir/smb.conf" -t -a -u "$user" > "$scratch/log/pdbedit" 2>&1 || fail "pdbedit"
    setsid "${prefix[@]}" smbd -F --no-process-group -p "$port" -s "$dir/smb.conf" > "$scratch/log/out" 2>&1 < /dev/null &
    server=$!
    name="smbd $version"
    # The share mode of the handle goes on to name its process, which serves the new connection too; only the end of that process
    # would make the handle a disconnected one (vfs_default_durable_reconnect_fn: "Did not find a unique valid share mode entry").
    case "$version" in 4.25.*) without=(--without "persistent handle reclaimed with PreviousSessionId") ;; esac
}

start_serve() {
    if [ -z "${SERVE:-}" ]; then
        (cd "$root" && cargo build --quiet -p leasehold-interop --bin serve)
        SERVE="$target/debug/serve"
    fi
    setsid "$SERVE" --listen "127.0.0.1:$port" --user "$user:$password" --share continuous:ca > "$scratch/log/out" 2>&1 < /dev/null &
    server=$!
    name=serve
}

scratch="$(mktemp -d "$base/tmp/probe.XXXXXX")"
chmod 755 "$scratch"
mkdir "$scratch/log"
if [ -z "${PROBE:-}" ]; then
    (cd "$root" && cargo build --quiet -p leasehold-interop --bin probe)
    PROBE="$target/debug/probe"
fi
if [ "$found" = serve ]; then start_serve; else start_smbd; fi
until (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do
    kill -0 "$server" 2> /dev/null || fail "the server did not start"
    sleep 0.1
done
echo "$name on port $port"
"$PROBE" --server "127.0.0.1:$port" --share share --continuous continuous --user "$user" --password "$password" \
    "${without[@]}" "$@"
