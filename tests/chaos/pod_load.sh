# What the commands of a chaos run do in a pod: bytes and an exit code that follow from its words.
# See pod_load.py. POSIX sh, with what agent.sh needs; it runs in every image that has those.
#
#   sh load.sh TAG OUT_AT OUT ERR_AT ERR STEPS PAUSE ENDS CHILD CODE
#
# OUT bytes of `blob` from its block OUT_AT on go to stdout, ERR likewise to stderr, in STEPS. It does
# not end while there is a file `held`.

tag=$1 out_at=$2 out=$3 err_at=$4 err=$5 steps=$6 pause=$7 ends=$8 child=$9
shift 9
code=$1

echo "$tag" >>counter
[ "$POD_MARK" = kept ] || exit 99 # of the container's environment, which is the command's too
case $child in
fork) (exit 0) & ;;
setsid) setsid sleep 600 & ;;
esac

# Each dd goes on where the last one ended: they share the descriptor's offset.
exec 7<blob 8<blob
dd bs=4096 skip="$out_at" count=0 <&7 2>/dev/null
dd bs=4096 skip="$err_at" count=0 <&8 2>/dev/null

copy() {
    [ "$1" -eq 0 ] || dd bs="$1" count=1 2>/dev/null || exit 28
}

step=0
while [ "$step" -lt "$steps" ]; do
    next=$((step + 1))
    copy $((out * next / steps - out * step / steps)) <&7
    copy $((err * next / steps - err * step / steps)) <&8 >&2
    step=$next
    sleep "$pause"
done
while [ -e held ]; do
    sleep 0.1
done
[ "$ends" = itself ] || exec sleep 600
exit "$code"
