#!/usr/bin/env bash
# Client libraries and smbclient beside `serve`.
#
#   run.sh [smbprotocol | impacket | smbclient]...
#
# Each runs against a server of its own, and prints `ok NAME` or `FAILED NAME: why`. The libraries are installed, at the versions of
# requirements.txt, into a virtual environment in cargo's target folder. What cannot be had here is said to be left out, and the
# status is then 77, unless something failed.
#
#   SERVE      the server's command (default: `serve`, built first)
#   PYTHON     an interpreter that has the libraries (default: that of the virtual environment)
#   SMBCLIENT  the command (default: that of the Debian chroot $LAB/root, or else the one in PATH)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../../.." && pwd)"
target="${CARGO_TARGET_DIR:-$root/target}"
peers=("$@")
[ $# -gt 0 ] || peers=(smbprotocol impacket smbclient)
user=labuser password=Lab-Pass-1 scratch='' server='' failed=0 left_out=0

stop() {
    [ -z "$server" ] || { kill "$server" 2> /dev/null && wait "$server" 2> /dev/null; } || true
    server=''
}
trap 'stop; rm -rf "$scratch"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
scratch="$(mktemp -d)"

if [ -n "${SERVE:-}" ]; then
    read -ra serve <<< "$SERVE"
else
    (cd "$root" && cargo build --quiet -p leasehold-interop --bin serve)
    serve=("$target/debug/serve")
fi

start() {
    : > "$scratch/address"
    "${serve[@]}" --listen 127.0.0.1:0 --user "$user:$password" --continuous \
        > "$scratch/address" 2> "$scratch/server.log" < /dev/null &
    server=$!
    local address=''
    for _ in $(seq 200); do
        address="$(sed -n 's/^listening //p' "$scratch/address")"
        if [ -n "$address" ] || ! kill -0 "$server" 2> /dev/null; then break; fi
        sleep 0.1
    done
    if [ -z "$address" ]; then
        echo "run.sh: the server did not start" >&2
        cat "$scratch/server.log" >&2
        exit 2
    fi
    port="${address##*:}"
}

# The interpreter, or nothing if the libraries cannot be installed.
python() {
    local venv="$target/peers" wanted
    if [ -n "${PYTHON:-}" ]; then echo "$PYTHON"; return; fi
    wanted="$(cksum < "$here/requirements.txt")"
    if [ "$(cat "$venv/installed" 2> /dev/null)" != "$wanted" ]; then
        rm -rf "$venv"
        {
            python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
        } >&2 || return 0
        echo "$wanted" > "$venv/installed"
    fi
    echo "$venv/bin/python"
}

for peer in "${peers[@]}"; do
    echo "-- $peer"
    case "$peer" in
        smbprotocol | impacket)
            interpreter="$(python)"
            if [ -z "$interpreter" ]; then
                echo "left out: $peer, it cannot be installed here"
                left_out=1
                continue
            fi
            command=("$interpreter" "$here/${peer}_peer.py")
            ;;
        smbclient) command=("$here/smbclient.sh") ;;
        *) echo "run.sh: there is no peer '$peer'" >&2; exit 2 ;;
    esac
    start
    status=0
    timeout -k 5 300 "${command[@]}" 127.0.0.1 "$port" "$user" "$password" || status=$?
    case "$status" in
        0) ;;
        77) left_out=1 ;;
        124 | 137) failed=1; echo "FAILED $peer: not done after 300 s" ;;
        *) failed=1 ;;
    esac
    if ! kill -0 "$server" 2> /dev/null; then
        failed=1
        echo "FAILED $peer: the server ended: $(tail -n 1 "$scratch/server.log")"
    fi
    stop
done
if [ "$failed" = 1 ]; then exit 1; elif [ "$left_out" = 1 ]; then exit 77; fi
