#!/bin/sh
# Plants one bug at a time (planted/*.patch) in a copy of the tree, and has `simulate` look for it, for a minute at most. Prints
#
#   name | found after N s by seed S: which check
#
# and fails if one does not apply, does not build, or is not found; or if something is found where nothing is planted.
#
#   planted.sh [NAME]...      all, or those whose names contain one of these
#
# PLANTED_TARGET_DIR: where to build (target/planted); PLANTED_SECONDS: how long to look (60).
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="${PLANTED_TARGET_DIR:-$root/target/planted}"
export CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=2
seconds="${PLANTED_SECONDS:-60}"
failed=0

# With the time of now: what an earlier run has built of other sources is not taken for these.
(cd "$root" && git ls-files -z --cached --others --exclude-standard | tar cf - --null -T -) | tar xmf - -C "$work"
cd "$work" || exit 2

# The last line of what a run prints; 1 if it found something.
look() {
    cargo build -q --release -p leasehold-interop --no-default-features --bin simulate >"$work/build.log" 2>&1 || return 2
    "$CARGO_TARGET_DIR/release/simulate" --seeds 1000000 --events 20000 --seconds "$1" >"$work/run.log" 2>&1
}

say() {
    printf '%-40s | %s\n' "$1" "$2"
}

look "$seconds"
case $? in
    0) say "nothing" "not found: $(grep '^events ' "$work/run.log")" ;;
    2) say "nothing" "does not build"; exit 1 ;;
    *) say "nothing" "$(tail -n 1 "$work/run.log")"; failed=1 ;;
esac

for patch in "$here"/planted/*.patch; do
    name=$(basename "$patch" .patch)
    if [ $# -gt 0 ]; then
        wanted=no
        for part in "$@"; do
            case $name in *"$part"*) wanted=yes ;; esac
        done
        [ "$wanted" = yes ] || continue
    fi
    if ! patch -p1 -s <"$patch" >/dev/null 2>&1; then
        say "$name" "does not apply"
        failed=1
        continue
    fi
    look "$seconds"
    case $? in
        0) say "$name" "NOT FOUND"; failed=1 ;;
        2) say "$name" "does not build"; failed=1 ;;
        *) say "$name" "$(tail -n 1 "$work/run.log")" ;;
    esac
    patch -p1 -s -R <"$patch" || exit 2
done
exit $failed
