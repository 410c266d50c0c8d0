#!/usr/bin/env bash
# smbclient as a client: a tree of files goes there, is listed, renamed, comes back the same, and is removed.
#
#   smbclient.sh HOST PORT USER PASSWORD
#
# Prints `ok NAME` or `FAILED NAME: why`. SMBCLIENT is the command (default: that of the Debian chroot $LAB/root, or else the one in
# PATH); without any, the status is 77.
# shellcheck disable=SC2317 # `check` calls what looks unreachable
set -euo pipefail
host=$1 port=$2 user=$3 password=$4 failed=0
LAB="${LAB:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/leasehold-lab}"

prefix='' # what the client's paths lack
if [ -n "${SMBCLIENT:-}" ]; then
    read -ra client <<< "$SMBCLIENT"
elif [ -x "$LAB/root/usr/bin/smbclient" ]; then
    client=(chroot "$LAB/root" smbclient) prefix="$LAB/root"
elif command -v smbclient > /dev/null; then
    client=(smbclient)
else
    echo "left out: smbclient, it is not installed here"
    exit 77
fi
scratch="$(mktemp -d -p "${prefix}/tmp")"
trap 'rm -rf "$scratch"' EXIT
inside="${scratch#"$prefix"}"
tree="tree-$$"

# The commands of smbclient, in the folder of this run; what it says is in $scratch/said.
smb() {
    timeout -k 5 60 "${client[@]}" "//$host/share" -p "$port" -s /dev/null -U "$user%$password" -c "lcd $inside; $1" \
        > "$scratch/said" 2>&1 && ! grep -q 'NT_STATUS_' "$scratch/said"
}
because() { tr '\n' ' ' < "$scratch/said" | cut -c1-300; }
check() { # NAME, and a command that decides
    local name=$1
    shift
    if "$@"; then echo "ok $name"; else failed=1; echo "FAILED $name: $(because)"; fi
}

mkdir -p "$scratch/$tree/deep/deeper"
printf 'one line\n' > "$scratch/$tree/small.txt"
: > "$scratch/$tree/empty"
head -c 3000000 /dev/urandom > "$scratch/$tree/deep/large.bin"
for n in $(seq 40); do printf '%s\n' "$n" > "$scratch/$tree/deep/deeper/file $n.txt"; done
cp -r "$scratch/$tree" "$scratch/kept"

lists() { smb "$1" && grep -qE "$2" "$scratch/said"; }
keeps() { ! smb "$1" && grep -q NT_STATUS_DIRECTORY_NOT_EMPTY "$scratch/said"; }
lacks() { ! smb "$1" && grep -q NT_STATUS_NO_SUCH_FILE "$scratch/said"; }
back() { # FOLDER: fetched, and the same
    smb "recurse ON; prompt OFF; mget $1" && diff -r "$scratch/kept" "$scratch/$1" > "$scratch/said"
}

check logs_in smb 'ls'
check puts_a_tree smb "recurse ON; prompt OFF; mput $tree"
rm -rf "${scratch:?}/$tree"
check lists_a_folder lists "ls $tree\\deep\\*" 'large\.bin +[AN]+ +3000000 '
check lists_a_tree lists "recurse ON; ls $tree\\*" 'file 40\.txt'
check gets_a_tree back "$tree"
check renames_a_folder smb "rename $tree $tree-new"
check lacks_the_old_name lacks "ls $tree"
check gets_the_renamed_tree back "$tree-new"
check renames_a_file smb "rename $tree-new\\small.txt $tree-new\\deep\\moved.txt"
check gets_the_renamed_file smb "get $tree-new\\deep\\moved.txt moved"
check finds_the_same cmp "$scratch/kept/small.txt" "$scratch/moved"
check overwrites_a_file smb "put moved $tree-new\\empty"
check lists_its_new_size lists "ls $tree-new\\empty" 'empty +[AN]+ +9 '
check deletes_a_file smb "del $tree-new\\empty"
check lacks_the_deleted_file lacks "ls $tree-new\\empty"
check keeps_a_folder_that_is_not_empty keeps "rmdir $tree-new"
check removes_the_tree smb "deltree $tree-new"
check lacks_the_removed_tree lacks "ls $tree-new"
exit "$failed"
