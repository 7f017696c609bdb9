#!/usr/bin/env bash
# kioku search beside yara and Volatility 3, and beside reading the file and nothing more: the same patterns, in turns, on this machine, now.
#
#   tests/bench-search.sh IMAGE [SYMBOLS]
#
# Told is the median wall time with a warm file cache, and what share of the plain reading speed that is. kioku starts from nothing and
# opens the image; where something is found it also looks up who maps it. Volatility (yarascan, which reads what the kernel maps) takes part
# where SYMBOLS is a folder with the ISF file that it needs for this image. The last lines hold kioku against what is asked of it: half of
# the reading speed for one pattern, a third for a thousand. Set RUNS (default 5), KIOKU, YARA, VOL to change the number of runs and the
# programs.
set -euo pipefail
export LC_ALL=C

[ $# -eq 1 ] || [ $# -eq 2 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
image=$1
symbols=${2:-}
runs=${RUNS:-5}
kioku=${KIOKU:-target/release/kioku}
yara=${YARA:-yara}
vol=${VOL:-vol}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# A text that no image holds, and a thousand that look like what one searches for.
one=kioku-bench-nowhere
for ((number = 0; number < 1000; number++)); do printf 'update-%05x.example\n' $((number * 7919 % 1048576)); done >"$folder/list"
{
    echo 'rule thousand { strings:'
    sed 's/.*/$ = "&" ascii wide/' "$folder/list"
    echo 'condition: any of them }'
} >"$folder/thousand.yar"
echo "rule one { strings: \$ = \"$one\" ascii wide condition: any of them }" >"$folder/one.yar"

names=(read 'kioku 1' 'kioku 1, any case' 'kioku 1000' 'kioku 1000, any case' 'kioku 1 rule' 'kioku 1000 in a rule' 'yara 1' 'yara 1000')
[ -z "$symbols" ] || names+=('vol yarascan 1' 'vol yarascan 1000')
scan() { "$vol" -q -s "$symbols" -f "$image" yarascan.YaraScan --yara-file "$1"; }
ask() {
    case $1 in
        0) dd if="$image" of=/dev/null bs=1M ;;
        1) "$kioku" search "$image" "$one" ;;
        2) "$kioku" search "$image" "$one" -i ;;
        3) "$kioku" search "$image" --patterns "$folder/list" ;;
        4) "$kioku" search "$image" --patterns "$folder/list" -i ;;
        5) "$kioku" search "$image" --yara "$folder/one.yar" ;;
        6) "$kioku" search "$image" --yara "$folder/thousand.yar" ;;
        7) "$yara" "$folder/one.yar" "$image" ;;
        8) "$yara" "$folder/thousand.yar" "$image" ;;
        9) scan "$folder/one.yar" ;;
        10) scan "$folder/thousand.yar" ;;
    esac
}

declare -a times shares
for ((run = 0; run <= runs; run++)); do
    for number in "${!names[@]}"; do
        start=${EPOCHREALTIME/./}
        ask "$number" >/dev/null 2>"$folder/said" </dev/null || { echo "bench-search: ${names[number]} failed" >&2; cat "$folder/said" >&2; exit 1; }
        # The first run fills the caches.
        [ "$run" -eq 0 ] || times[number]+=" $((${EPOCHREALTIME/./} - start))"
    done
done

bytes=$(stat -c %s "$image")
printf '%s, %s MiB, %s runs each\n\n%-22s %10s %10s %8s\n' "$(basename "$image")" $((bytes >> 20)) "$runs" SEARCH SECONDS MiB/s OF-READ
for number in "${!names[@]}"; do
    # shellcheck disable=SC2086
    middle=$(printf '%s\n' ${times[number]} | sort -n | sed -n "$((runs / 2 + 1))p")
    [ "$number" -gt 0 ] || read=$middle
    shares[number]=$((read * 100 / middle))
    printf '%-22s %6d.%03d %10d %7d%%\n' "${names[number]}" $((middle / 1000000)) $((middle / 1000 % 1000)) \
        $((bytes * 1000000 / middle >> 20)) "${shares[number]}"
done
echo
meets() { if [ "$2" -ge "$3" ]; then echo "$1: met, $2% of $3%"; else echo "$1: NOT met, $2% of $3%"; fi; }
meets 'one pattern' "${shares[1]}" 50
meets 'a thousand patterns' "${shares[3]}" 33
