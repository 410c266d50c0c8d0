#!/usr/bin/env bash
# Samba's smbtorture judges `serve`: every test by itself, against a server of its own.
#
#   torture.sh [SUITE | SUITE.TEST | PATTERN]...
#
# Prints a table and the counts. It succeeds if every test went as torture.expected says, and a test that is not named there passed.
#
#   SMBTORTURE  the command (default: that of the Debian chroot $LAB/root, or else the one in PATH)
#   SERVE       the server's command (default: `serve`, built first)
#   JOBS        tests side by side (default 12: they mostly wait)
#   LIMIT       seconds that a test may take (default 240)
#   PROTO       the highest dialect the client offers: SMB2_02, SMB2_10, SMB3_00, SMB3_02, SMB3_11
#   STORE       the server's store (default memory); % stands for a folder of the test's own, as in redb:%/handles.redb
#   EXPECTED    the list of what is known not to pass (default: torture.expected beside this file)
#   OUT         where the logs are kept (default: torture, in cargo's target folder)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
target="${CARGO_TARGET_DIR:-$root/target}"
JOBS="${JOBS:-12}" LIMIT="${LIMIT:-240}" PROTO="${PROTO:-}" STORE="${STORE:-memory}"
EXPECTED="${EXPECTED:-$here/torture.expected}" OUT="${OUT:-$target/torture${PROTO:+-$PROTO}}"
LAB="${LAB:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/leasehold-lab}"

# Slowest first, so that nothing is left to wait for at the end.
suites=(
    smb2.persistent-open-reconnect-contended smb2.persistent-open smb2.persistent-open-failover
    smb2.lease smb2.oplock smb2.dirlease
    smb2.durable-open smb2.durable-open-disconnect
    smb2.durable-v2-open smb2.durable-v2-delay smb2.durable-v2-regressions
    smb2.replay smb2.lock
)
# Some tests log in as a second user.
user=labuser password=Lab-Pass-1 user2=labuser2 password2=Lab-Pass-2

# The shares beside `share`. Some tests go to one of these by its name, whatever they are pointed at. What a test asks of a share
# are the capabilities in the answer to TREE_CONNECT (MS-SMB2 2.2.10): CA is continuous availability, which makes handles
# persistent, CLUSTER and SCALEOUT say what kind of cluster the share is in. One that asks for CA skips itself unless NEGOTIATE
# (MS-SMB2 2.2.4) said PERSISTENT_HANDLES too.
shares=(
    --continuous --share ca_fo:ca:cluster --share ca_fo_max_rwh:ca:cluster --share ca_so:ca:cluster:scale-out
    --share fo:cluster --share so:cluster:scale-out
)

# What a test is pointed at, and what it needs of the server and of smbtorture. Without an entry: `share`, and nothing.
plan() { # TEST: sets share, options (of serve), settings (of smbtorture), limit (seconds)
    share=share options=() settings=() limit="$LIMIT"
    case "$1" in
        # A CREATE that is sent again while it waits for a break: FILE_NOT_AVAILABLE, or, as Windows has it, ACCESS_DENIED and
        # SHARING_VIOLATION. Each has its own tests; the former is the default.
        smb2.replay.dhv2-pending3*-windows) options=(--test-controls --profile windows) ;;
        smb2.replay.dhv2-pending3*) options=(--test-controls) ;;
        smb2.replay.*-windows) options=(--profile windows) ;;
        # A lease that has to go further than it was told is told so with the epoch of the first notification, not the next
        # (MS-SMB2 3.3.4.7 <248>).
        smb2.lease.v2_breaking3) options=(--profile samba) ;;
        # Take a connection for dead by FSCTL 0x83848003.
        smb2.oplock.batch22b) options=(--test-controls) ;;
        # A CREATE that is sent again for a persistent handle with a batch oplock: skips itself without CA.
        smb2.replay.replay5) share=share_ca options=(--continuous) ;;
        # Persistent, or only durable, for each oplock and lease, by whether the share has CA: pass on `share` too.
        smb2.durable-v2-open.persistent-open-*) share=share_ca options=(--continuous) ;;
        # Opens and locks against each other: skips itself unless it is told for how many seconds.
        smb2.lock.open-brlock-deadlock) settings=(--option=torture:open_brlock_deadlock_timemout=5) ;;

        # Skips itself unless the share it is pointed at has SCALEOUT.
        smb2.persistent-open.leaselevels_so) share=ca_so options=("${shares[@]}") ;;
        # The same; these go on to `so` and `ca_so` by themselves, and want no lease of a directory on the former.
        smb2.persistent-open.directory-leaselevels-so*) share=ca_so options=("${shares[@]}") ;;
        # `leaselevels` fails without CA. `leaselevels_fo`, `leaselevels_fo_max_rwh`, `directory-leaselevels-fo` and `-fo-ca` go on
        # to `ca_fo`, `ca_fo_max_rwh`, `fo` and `ca_fo`, and skip themselves if the share they are pointed at has SCALEOUT.
        # `directory-leaselevels` skips itself unless the share has CLUSTER. The others need CA.
        smb2.persistent-open.*) share=ca_fo_max_rwh options=("${shares[@]}") ;;
        # Skips itself unless smbtorture is told that the server is Samba ("Broken on Windows").
        *.reconnect-contended-win-broken)
            share=ca_fo_max_rwh options=("${shares[@]}") settings=(--target=samba3) ;;
        # Needs CA, leases of RWH, and no SCALEOUT, and waits for a break that does not come in most of its more than 200 rows.
        *.reconnect-contended) share=ca_fo_max_rwh options=("${shares[@]}") limit=$((LIMIT < 600 ? 600 : LIMIT)) ;;
        # The same, but shorter. With SCALEOUT the failover tests would stop a node by the commands of Samba's own cluster;
        # without it they skip themselves.
        smb2.persistent-open-reconnect-contended.* | smb2.persistent-open-failover.*) share=ca_fo_max_rwh options=("${shares[@]}") ;;
    esac
}

fail() { echo "torture.sh: $*" >&2; exit 2; }

find_smbtorture() {
    if [ -n "${SMBTORTURE:-}" ]; then
        read -ra torture <<< "$SMBTORTURE"
    elif [ -x "$LAB/root/usr/bin/smbtorture" ]; then
        torture=(chroot "$LAB/root" smbtorture)
    elif command -v smbtorture > /dev/null; then
        torture=(smbtorture)
    else
        fail "there is no smbtorture here (Debian: apt-get install samba-testsuite)"
    fi
    version="$("${torture[@]}" --version 2> /dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1 || true)"
    [ -n "$version" ] || fail "'${torture[*]}' does not say its version"
}

find_serve() {
    if [ -n "${SERVE:-}" ]; then
        read -ra serve <<< "$SERVE"
    else
        (cd "$root" && cargo build --quiet -p leasehold-interop --bin serve)
        serve=("$target/debug/serve")
    fi
}

# Fills `tests` with what was asked for and this smbtorture has.
choose() { # SELECTION...
    local all wanted name found
    # The listing says the last label twice: a test of that name is found by its path without it.
    all="$("${torture[@]}" --list 2> /dev/null | sed -nE 's/^(smb2\.[^ ]*)\.([^.]+)\.\2$/\1.\2/p' | awk '!seen[$0]++')"
    [ -n "$all" ] || fail "'${torture[*]} --list' names no test"
    tests=()
    for wanted in "$@"; do
        found=0
        while read -r name; do
            # shellcheck disable=SC2053 # a pattern
            if [[ $name == $wanted || $name == "$wanted".* ]]; then
                found=$((found + 1))
                [[ " ${tests[*]} " == *" $name "* ]] || tests+=("$name")
            fi
        done <<< "$all"
        if [ "$found" = 0 ]; then
            [ "$asked" = no ] || fail "smbtorture $version has no test '$wanted'"
            echo "left out: $wanted, smbtorture $version does not have it"
        fi
    done
    [ "${#tests[@]}" -gt 0 ] || fail "there is nothing to run"
}

# One test in a folder of its own: log, server.log, and result (test, verdict, seconds, reason).
run_one() { # TEST
    local test=$1 dir="$OUT/$1" share options settings limit address='' verdict reason='' status=0 began ended
    server='' client='' # not local: the trap looks at them when this function is gone
    trap '[ -z "$client" ] || kill "$client" 2> /dev/null || true; [ -z "$server" ] || kill "$server" 2> /dev/null || true' EXIT
    trap 'exit 143' TERM INT
    mkdir -p "$dir"
    : > "$dir/address"
    plan "$test"
    "${serve[@]}" --listen 127.0.0.1:0 --store "${STORE//%/$dir}" --user "$user:$password" --user "$user2:$password2" \
        "${options[@]}" > "$dir/address" 2> "$dir/server.log" < /dev/null &
    server=$!
    for _ in $(seq 200); do
        address="$(sed -n 's/^listening //p' "$dir/address")"
        if [ -n "$address" ] || ! kill -0 "$server" 2> /dev/null; then break; fi
        sleep 0.1
    done
    if [ -z "$address" ]; then
        printf '%s\t%s\t%s\t%s\n' "$test" FAIL 0 "the server did not start: $(tail -n 1 "$dir/server.log")" > "$dir/result"
        return
    fi
    began="$(date +%s%N)"
    timeout -k 5 "$limit" "${torture[@]}" "//127.0.0.1/$share" -p "${address##*:}" -s /dev/null -U "$user%$password" \
        --client-protection=off --option=torture:progress=no --option=torture:user2name="$user2" \
        --option=torture:user2password="$password2" ${PROTO:+"--option=client max protocol=$PROTO"} \
        "${settings[@]}" "$test" > "$dir/log" 2>&1 < /dev/null &
    client=$!
    wait "$client" || status=$?
    client=''
    ended="$(date +%s%N)"
    # What it says counts, not how it ends: a skipped test ends as one that passed.
    if [ "$status" = 124 ] || [ "$status" = 137 ]; then
        verdict=FAIL reason="not done after $limit s"
    elif grep -qE '^(failure|error):' "$dir/log"; then
        verdict=FAIL reason="$(said 'failure|error' "$dir/log")"
    elif grep -q '^skip:' "$dir/log"; then
        verdict=skip reason="$(said skip "$dir/log")"
    elif [ "$status" = 0 ] && grep -q '^success:' "$dir/log"; then
        verdict=pass
    else
        verdict=FAIL reason="ended with $status: $(tail -n 1 "$dir/log")"
    fi
    if ! kill -0 "$server" 2> /dev/null; then
        verdict=FAIL reason="the server ended: $(tail -n 1 "$dir/server.log"); $reason"
        server=''
    fi
    printf '%s\t%s\t%s\t%s\n' "$test" "$verdict" "$(((ended - began) / 100000000))" "$reason" > "$dir/result"
    if [ -n "$server" ]; then
        kill "$server" 2> /dev/null || true
        wait "$server" 2> /dev/null || true
        server=''
    fi
    [ "$verdict" != pass ] || rm -f "$dir/log" "$dir/server.log"
    rm -f "$dir/address"
}

# The text in brackets after a verdict, on one line, without the path of the source.
said() { # VERDICT LOG
    awk -v verdict="^($1):" '
        $0 ~ verdict { inside = 1; next }
        inside && /^\]/ { exit }
        inside { text = text (text == "" ? "" : " ") $0 }
        END { print text }' "$2" | tr '\t' ' ' | sed -E 's|(\.\./)*source4/torture/smb2/||g' | cut -c1-240
}

# What the list says of a test: that of this dialect, or else of this version of smbtorture, or else of any.
expectation() { # TEST: prints pass, fail or skip
    local name
    for name in ${PROTO:+"$1@$PROTO"} "$1@${version%.*}" "$1"; do
        if [ -n "${expected[$name]:-}" ]; then echo "${expected[$name]}"; return; fi
    done
    echo pass
}

read_expected() {
    local name what reason
    declare -gA expected=()
    while read -r name what reason; do
        case "$name" in '' | '#'*) continue ;; esac
        case "$what" in pass | fail | skip) ;; *) fail "$EXPECTED: '$name' is to '$what'?" ;; esac
        [ -n "$reason" ] || fail "$EXPECTED: '$name' has no reason"
        expected[$name]="$what"
    done < "$EXPECTED"
}

report() {
    local test verdict tenths reason suite last="" want known wrong=()
    declare -A passed=() failed=() skipped=()
    local seen=() total_passed=0 total_failed=0 total_skipped=0
    printf '%-72s %-8s %7s  %s\n' test result seconds reason
    for test in "${tests[@]}"; do
        if ! IFS=$'\t' read -r _ verdict tenths reason 2> /dev/null < "$OUT/$test/result"; then
            verdict=FAIL tenths=0 reason="it was not run to its end"
        fi
        suite="${test%.*}"
        [ "$suite" = "$last" ] || { seen+=("$suite"); last="$suite"; }
        want="$(expectation "$test")"
        case "$verdict" in
            pass) passed[$suite]=$((${passed[$suite]:-0} + 1)) ;;
            skip) skipped[$suite]=$((${skipped[$suite]:-0} + 1)) ;;
            *) failed[$suite]=$((${failed[$suite]:-0} + 1)) ;;
        esac
        known=''
        if [ "${verdict,,}" != "$want" ]; then
            known=' (!)'
            wrong+=("$test: $verdict, expected $want${reason:+: $reason}")
        fi
        printf '%-72s %-8s %5d.%d  %s\n' "$test" "$verdict$known" $((tenths / 10)) $((tenths % 10)) "$reason"
    done
    echo
    for suite in "${seen[@]}"; do
        echo "$suite: ${passed[$suite]:-0} passed, ${failed[$suite]:-0} failed, ${skipped[$suite]:-0} skipped"
        total_passed=$((total_passed + ${passed[$suite]:-0}))
        total_failed=$((total_failed + ${failed[$suite]:-0}))
        total_skipped=$((total_skipped + ${skipped[$suite]:-0}))
    done
    echo "all, with smbtorture $version${PROTO:+, at most $PROTO}: $total_passed passed, $total_failed failed, $total_skipped skipped"
    if [ "${#wrong[@]}" = 0 ]; then
        echo "as expected"
    else
        echo
        echo "not as expected (logs in $OUT/TEST):"
        printf '    %s\n' "${wrong[@]}"
        return 1
    fi
}

asked=no
if [ $# -gt 0 ]; then asked=yes suites=("$@"); fi
find_smbtorture
read_expected
choose "${suites[@]}"
find_serve
mkdir -p "$OUT"
for test in "${tests[@]}"; do rm -rf "${OUT:?}/$test"; done

stop() {
    local pids
    pids="$(jobs -p)"
    # shellcheck disable=SC2086 # a list
    [ -z "$pids" ] || kill $pids 2> /dev/null || true
    wait
}
trap stop EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

running=0
for test in "${tests[@]}"; do
    if [ "$running" -ge "$JOBS" ]; then
        wait -n || true
        running=$((running - 1))
    fi
    run_one "$test" &
    running=$((running + 1))
done
wait
report
