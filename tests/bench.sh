#!/usr/bin/env bash
# kioku and Volatility 3 side by side: the same questions to the same Linux image, in turns, on this machine, now.
#
#   tests/bench.sh IMAGE [SYMBOLS]
#
# SYMBOLS is a folder with the ISF file that Volatility needs for this image; kioku gets none. Told are the median wall time, the
# peak of anonymous memory (sampled from smaps_rollup; mapped image pages are not counted) and the rows. The file cache is warm: each
# program is weighed before it is timed, which also lets Volatility build its symbol cache. Set RUNS (default 5), KIOKU, VOL to change
# the number of runs and the programs.
set -euo pipefail
export LC_ALL=C

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
image=$1
symbols=${2:-}
runs=${RUNS:-5}
kioku=${KIOKU:-target/release/kioku}
vol=${VOL:-vol}
for program in "$kioku" "$vol"; do
    command -v "$program" >/dev/null || { echo "bench: there is no $program" >&2; exit 1; }
done
[ -r /proc/self/smaps_rollup ] || { echo "bench: needs Linux, for /proc/PID/smaps_rollup" >&2; exit 1; }
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT

# A descriptor on which nothing ever arrives: waiting there is a pause without a process of its own.
exec {idle}<> <(:)

failed() {
    echo "bench: failed: $*" >&2
    exit 1
}

# Runs a command; sets microseconds.
timed() {
    local start=${EPOCHREALTIME/./}
    "$@" >"$rows" 2>/dev/null </dev/null || failed "$@"
    microseconds=$((${EPOCHREALTIME/./} - start))
}

# Runs a command and looks at it every few milliseconds; sets kilobytes. Not timed, since looking costs.
weighed() {
    local pid line
    kilobytes=0
    "$@" >"$rows" 2>/dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        while read -r line; do
            case $line in
                Anonymous:*)
                    line=${line//[!0-9]/}
                    [ "${line:-0}" -gt "$kilobytes" ] && kilobytes=$line
                    ;;
            esac
        done 2>/dev/null <"/proc/$pid/smaps_rollup" || true
        read -rt 0.005 -u "$idle" || true
    done
    wait "$pid" || failed "$@"
}

middle() { printf '%s\n' "$@" | sort -n | sed -n "$(($# / 2 + 1))p"; }
seconds() { printf '%d.%03d' $(($1 / 1000000)) $(($1 / 1000 % 1000)); }

ask_kioku() { "$1" "$kioku" query "$image" "$2" --format jsonl --quiet; }
ask_vol() { "$1" "$vol" -q ${symbols:+-s "$symbols"} -f "$image" -r jsonl "$3"; }

printf '%s, %s runs each\n\n' "$(basename "$image")" "$runs"
printf '%-13s %-26s %10s %12s %8s\n' TABLE PROGRAM SECONDS 'MEMORY MiB' ROWS
while read -r table plugin; do
    for program in kioku vol; do
        "ask_$program" weighed "$table" "$plugin"
        declare "times_$program=" "memory_$program=$kilobytes" "rows_$program=$(grep -c '[^[:space:]]' "$rows")"
    done
    for ((run = 0; run < runs; run++)); do
        for program in kioku vol; do
            "ask_$program" timed "$table" "$plugin"
            declare -n times="times_$program"
            times+=" $microseconds"
        done
    done
    for program in kioku vol; do
        declare -n times="times_$program" memory="memory_$program" count="rows_$program"
        name=kioku
        [ "$program" = vol ] && name="vol $plugin"
        # shellcheck disable=SC2086
        printf '%-13s %-26s %10s %12s %8s\n' "$table" "$name" "$(seconds "$(middle $times)")" $((memory / 1024)) "$count"
    done
done <<'PAIRS'
processes linux.pslist.PsList
sockets linux.sockstat.Sockstat
regions linux.proc.Maps
suspicious linux.malfind.Malfind
PAIRS
