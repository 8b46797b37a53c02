# Answers, in a pod, what a runner asks about the commands there. It is sent to a `sh` at each
# connection and lives as long as that; what must outlive it is the supervisor's.
#
#   sh -s COMMANDS WORKSPACE NONCE SUPERVISOR SHA256 DRAIN_CS [STUCK]
#
# STUCK: the nonce of the one before, where that did not answer in time. It is killed, and this one
# bears files that have no end, at the price of some processes a question.
#
# POSIX sh (dash, bash, busybox ash) with cat, dd, env, find, grep, head, ln, ls, mkdir, mkfifo, mv,
# rm, setsid, sha256sum, sleep and touch.
#
# A question is a line `NUMBER VERB WORDS`, and behind it the bytes that it speaks of. The answer is
# on stderr: lines `NUMBER - TEXT`, and at last `NUMBER . TEXT`, or `NUMBER ! TEXT` where it cannot
# be done; bytes come on stdout, as many as the last line says. One is answered after the other.
#
# Nobody's words are ever looked into: ids are made of letters, digits, - and _ (the asker sees to
# it), values come as bytes and go into files.

exec 3>&2 2>/dev/null
umask 077
# What the container's environment says of languages and units is not meant for this.
export LC_ALL=C
unset BLOCK_SIZE LS_BLOCK_SIZE BLOCKSIZE GREP_OPTIONS POSIXLY_CORRECT
commands=$1 workspace=$2 nonce=$3 supervisor=$4 sha256=$5 drain=$6 stuck=${7-}
newline='
'
needed='cat dd env find grep head ln ls mkdir mkfifo mv rm setsid sha256sum sleep touch'

tell() {
    answer="$answer$number - $1
"
}

# The end of an answer.
done_with() {
    printf '%s%s . %s\n' "$answer" "$number" "$1" >&3
}

fail() {
    printf '%s%s ! %s\n' "$answer" "$number" "$1" >&3
}

# Whether there is a file $1 that can be opened without waiting for anybody: commands may put what
# they like in its place.
plain() {
    [ -f "$1" ] && [ ! -L "$1" ]
}

# Sets line to the first line of the file $1, and next to the one behind. 1: it has no whole line.
lines() {
    line='' next=''
    plain "$1" || return 1
    if [ -z "$stuck" ]; then
        { read -r line && { IFS= read -r next || :; }; } <"$1"
        return
    fi
    text=$(head -c 2000 <"$1" && echo .)
    case $text in
    *"$newline"*"$newline"*) next=${text#*"$newline"} && next=${next%%"$newline"*} ;;
    *"$newline"*) ;;
    *) return 1 ;;
    esac
    line=${text%%"$newline"*}
}

# Sets at to where descriptor $1 of this shell stands.
where() {
    at=0
    while read -r name value; do
        [ "$name" != pos: ] || at=$value
    done <"/proc/self/fdinfo/$1"
}

# Moves the descriptor 7 on by $1 bytes: dd seeks what it shares with this shell.
seek() {
    dd bs=4096 skip=$(($1 / 4096)) count=0 <&7
    [ $(($1 % 4096)) -eq 0 ] || dd bs=$(($1 % 4096)) skip=1 count=0 <&7
}

# Takes the $1 bytes behind the question into the new file $2. They are always taken, else the next
# question would not be found. 1: they are not all there.
receive() {
    at=0
    if [ -e "$2" ] || [ -L "$2" ]; then
        rm -rf "$2"
    fi
    if [ "$1" -eq 0 ]; then
        command : >"$2"
        return
    fi
    if { command exec 7>"$2"; }; then
        dd bs="$1" count=1 iflag=fullblock >&7
        where 7
        exec 7>&-
    else
        dd bs="$1" count=1 iflag=fullblock >/dev/null
    fi
    [ "$at" -eq "$1" ]
}

# Sets size to that of the file $1; empty where there is none.
measure() {
    size=
    # shellcheck disable=SC2046  # to be split: mode, links, owner, group, size
    set -- $(ls -lnd -- "$1")
    size=${5-}
}

# Whether the process $1 is the one that began at $2, and no zombie. Sets group to its own. Where
# there are more threads than one, only the first has ended, and the others run.
alive() {
    read -r stat <"/proc/$1/stat" || return 1
    # shellcheck disable=SC2086  # to be split; the program's name, with its ")", is cut off
    set -- "$2" ${stat##*) }
    group=$4
    [ "$1" = "${21}" ] || return 1
    case $2:${19} in
    [ZX]:[01]) return 1 ;;
    esac
}

# Sets token to what the start token of $1 holds, takers to who may have taken it, leader and begun
# to the one who did where that is known. 1: nobody has taken it.
examine() {
    token='' takers='' leader='' begun=''
    [ -e ".tokens/$1" ] || return 1
    signed=
    lines ".tokens/$1" && signed=yes
    token=$line
    case $signed$token in
    cancelled | yescancelled) return 0 ;;
    yes*:*:*:*:*) takers=$token ;;
    *)
        for place in "$1"/by:*; do
            [ ! -e "$place" ] || takers="$takers ${place##*/by:}"
        done
        ;;
    esac
    case ${takers# } in
    '' | *' '*) ;;
    *)
        leader=${takers# }
        begun=${leader#*:}
        leader=${leader%%:*} begun=${begun%%:*}
        # In another container or before a boot: it is gone, and its process id may be anybody's.
        [ "${takers##*:}" = "$boot" ] && [ "$begun" -ge "${began:-0}" ] || leader='' begun=''
        ;;
    esac
    return 0
}

# Sets members to the processes of the command $1: what carries its id, also after a setsid, and
# what is in its leader's group.
find_members() {
    members=
    for place in $(grep -lszxF -e "RDEV_COMMAND_ID=$1" /proc/[0-9]*/environ); do
        place=${place#/proc/}
        members="$members ${place%/environ}"
    done
    [ -n "$leader" ] || return 0
    for place in /proc/[0-9]*/stat; do
        read -r stat <"$place" || continue
        # shellcheck disable=SC2086  # state, parent, group, and as the 18th threads
        set -- ${stat##*) }
        state=$1:${18}
        [ "$3" = "$leader" ] && [ "${20}" -ge "$begun" ] || continue
        place=${place#/proc/}
        place=${place%/stat}
        case $state:" $members " in
        [ZX]:[01]:* | *" $place "*) ;;
        *) members="$members $place" ;;
        esac
    done
}

# Wakes who sees the command to its end, should somebody have stopped it.
wake_supervisor() {
    [ -n "$leader" ] || return 0
    rest=${takers#*:*:}
    one=${rest%%:*}
    rest=${rest#*:}
    ! alive "$one" "${rest%%:*}" || kill -CONT "$one"
}

# Kills all of the command $1, again and again until nothing is left. Gives up on what cannot be
# killed.
kill_all() {
    rounds=0
    while [ $rounds -lt 50 ]; do
        find_members "$1"
        # It has the token, and is not the command yet.
        [ -z "$leader" ] || ! alive "$leader" "$begun" || members="$members $leader"
        [ -n "$members" ] || return 0
        for pid in $members; do
            kill -KILL "$pid"
        done
        sleep 0.02 || sleep 1
        rounds=$((rounds + 1))
    done
}

# Kills what copies the stdin of $1: its supervisor would have told it to end.
end_feeder() {
    lines "$1/feeder" || return 0
    ! alive "${line%:*}" "${line#*:}" || kill -KILL "${line%:*}"
}

# Removes the directory of $1, which is gone for others at once, its feeder, and what agents that
# were killed left of removing it.
remove() {
    mv "$1" ".old.$1.$nonce.$number"
    for old in ".old.$1."*; do
        [ -d "$old" ] || continue
        end_feeder "$old"
        # Again: its supervisor may put a last file into it meanwhile.
        rm -rf "$old" || rm -rf "$old"
    done
}

# --- what can be asked -------------------------------------------------------------------------

hello() {
    for name in $needed; do
        command -v "$name" >/dev/null || missing="$missing $name"
    done
    if [ -n "$missing" ]; then
        tell "missing$missing"
        done_with ''
        return
    fi
    mkdir -p "$workspace"
    mkdir -p "$commands/.tokens"
    here=$(cd -P -- "$workspace" && pwd)
    # Where commands have run they are told of, also if nothing can be written there any more.
    if [ -z "$here" ] || ! cd -P -- "$commands" || ! [ -O . ] || ! { [ -w . ] || [ -s .life ]; }; then
        tell unwritable
        done_with ''
        return
    fi
    workspace=$here
    commands=$(pwd)
    # Whoever is first names these files; the link fails for all others. After a power cut the name
    # may be empty, or zeros: then tokens may have been lost too.
    [ ! -e .life ] || { lines .life && [ -n "$line" ]; } || rm -rf .life
    if [ ! -e .life ]; then
        rm -rf ".life.$nonce"
        echo "$nonce" >".life.$nonce" && ln ".life.$nonce" .life
        rm -f ".life.$nonce"
    fi
    if ! lines .life; then
        fail "nothing can be written to $commands; is the volume full?"
        return
    fi
    life=$line
    boot=
    read -r boot </proc/sys/kernel/random/boot_id
    # Which container this is, of all that the pod has had: when its first process began.
    began=
    if read -r stat </proc/1/stat; then
        # shellcheck disable=SC2086  # to be split; the program's name, with its ")", is cut off
        set -- ${stat##*) }
        began=${20}
    fi
    container=$boot:$began
    tell "life $life"
    tell "boot $boot"
    tell "home $workspace"
    plain "$supervisor" && [ "$(head -c 100000 <"$supervisor" | sha256sum)" = "$sha256  -" ] ||
        tell undelivered
    done_with ''
}

# deliver LENGTH: the supervisor's text.
deliver() {
    receive "$1" ".new.$nonce" && [ "$(sha256sum <".new.$nonce")" = "$sha256  -" ] &&
        mv -f ".new.$nonce" "$supervisor" && done_with '' || fail "the supervisor cannot be put there"
}

# What this container gives its processes.
environ() {
    command exec 7<"/proc/$$/environ" || { done_with 0 && return; }
    cat <&7
    where 7
    exec 7<&-
    done_with $at
}

# start ID LIFE LENGTH STDIN OPEN POD [AGAIN]: STDIN is the length of its stdin, or -.
start() {
    if [ "${7-}" = again ]; then # for tests/chaos alone: the safeguard is off
        rm -f ".tokens/$1"
        set -- "$1" "$2" "$3" "$4" "$5" "$6"
    fi
    if [ "$2" != "$life" ]; then
        throw_away "$3" "$4"
        fail "its files are gone"
        return
    fi
    if [ -e ".tokens/$1" ] || ! [ -d "$workspace" ]; then
        throw_away "$3" "$4"
        [ -d "$workspace" ] || { fail "the workspace's folder is missing" && return; }
        done_with ''
        return
    fi
    # Under names of their own: what has been linked may be in use, and is never written again.
    mine=$nonce.$number
    # Anew each time: who takes the token does so in the container of the last that came so far.
    if mkdir "$1"; then
        echo "$6 $container" >"$1/pod"
    else
        echo "$6 $container" >"$1/.pod.$mine" && mv -f "$1/.pod.$mine" "$1/pod"
    fi
    prepared=yes
    receive "$3" "$1/.launch.$mine" || prepared=
    if [ "$4" != - ]; then
        { receive "$4" "$1/.stdin.$mine" && ln "$1/.stdin.$mine" "$1/stdin"; } ||
            [ -e "$1/stdin" ] || prepared=
    fi
    if [ "$5" = open ]; then
        mkfifo "$1/fifo" "$1/bell"
    fi
    command : >>"$1/out" || prepared=
    command : >>"$1/err" || prepared=
    # Last, and whole: a directory that has it is prepared.
    [ -z "$prepared" ] || ln "$1/.launch.$mine" "$1/launch"
    if ! [ -e "$1/launch" ]; then
        fail "the command's files cannot be written; is the volume full?"
        return
    fi
    # It ran to its end and was cleaned up while this prepared it a second time.
    set -- "$@" "$1"/by:*
    if [ -e ".tokens/$1" ] && ! [ -e "$7" ]; then
        remove "$1"
        done_with ''
        return
    fi
    # The inner setsid finds itself the leader of a group, forks and returns at once. Not by &: what
    # a script starts so has INT and QUIT ignored for good.
    setsid setsid env -i "PATH=$PATH" sh "$supervisor" "$commands/$1" "$commands/.tokens/$1" \
        "$workspace" "$drain" </dev/null >>"$1/log" 2>&1 3>&-
    done_with ''
}

throw_away() {
    for length in "$1" "$2"; do
        case $length in
        0 | -) ;;
        *) dd bs="$length" count=1 iflag=fullblock >/dev/null ;;
        esac
    done
}

# look ID: processes before files, so that what they left is final; the token again at last.
look() {
    if examine "$1"; then
        tell "token$signed $token"
        ! read -r now _ </proc/uptime || tell "now $now"
        for taker in $takers; do
            tell "by $taker"
            rest=${taker#*:*:}
            one=${taker%":$rest"}
            two=${rest%:*}
            for process in "$one" "$two"; do
                alive "${process%:*}" "${process#*:}" || continue
                tell "alive $process"
                [ "$process" != "$one" ] || [ "$group" = "${one%:*}" ] || tell becoming
            done
        done
    fi
    for name in launch refused done synced; do
        [ ! -e "$1/$name" ] || tell "has $name"
    done
    ! lines "$1/exit" || tell "exit $line"
    ! lines "$1/refused" || tell "refused $line $next"
    if lines "$1/pod"; then
        tell "pod ${line%% *}"
        [ "${line#* }" = "$container" ] || tell moved
    fi
    before=$signed$token
    examine "$1"
    [ "$before" = "$signed$token" ] || tell again
    done_with ''
}

# read ID FILE BLOCK COUNT: COUNT blocks of 4096 bytes from the BLOCKth on, as far as they are there.
read_file() {
    plain "$1/$2" && [ -s "$1/$2" ] && command exec 7<"$1/$2" || { done_with 0 && return; }
    dd bs=4096 skip="$3" count="$4" <&7
    where 7
    exec 7<&-
    at=$((at - $3 * 4096))
    [ $at -ge 0 ] || at=0
    done_with $at
}

# poll ID…: what is to be seen of them from outside, one file a line.
poll() {
    seen=$(
        for id in "$@"; do
            set -- "$@" "$id/out" "$id/err" "$id/exit" "$id/refused" "$id/done" "$id/synced"
            shift
        done
        ls -lnd -- "$@"
    )
    printf '%s\n' "$seen"
    done_with $((${#seen} + 1))
}

# feed ID OFFSET LENGTH MOST RING: what begins exactly where its stdin ends so far.
feed() {
    receive "$3" ".in.$nonce" || { fail "the input cannot be written; is the volume full?" && return; }
    copied=
    if lines "$1/feeder"; then
        feeder=$line
        alive "${feeder%:*}" "${feeder#*:}" || { done_with gone && return; }
        while read -r name value; do
            [ "$name" != pos: ] || copied=$value
        done <"/proc/${feeder%:*}/fdinfo/7"
    else
        copied=0
    fi
    size=
    ! plain "$1/stdin" || measure "$1/stdin"
    [ -n "$size" ] || { done_with gone && return; }
    copied=${copied:-$size}
    fresh=$(($3 - (size - $2)))
    [ $fresh -le $(($4 - (size - copied))) ] || fresh=$(($4 - (size - copied)))
    if [ "$2" -le "$size" ] && [ $fresh -gt 0 ]; then
        # Where it belongs, not appended: two who write the same piece write it to the same place.
        command exec 7<>"$1/stdin" || { done_with gone && return; }
        seek "$size"
        exec 8<&7 7<".in.$nonce"
        seek $((size - $2))
        head -c $fresh <&7 >&8
        exec 7<&- 8>&-
        measure "$1/stdin"
    fi
    # Also where nothing was new: whoever wrote it may have died before the ring.
    [ "$5" != ring ] || [ ! -p "$1/bell" ] || echo 1<>"$1/bell"
    done_with "$size $copied"
}

close() {
    [ ! -d "$1" ] || command : >"$1/closed"
    [ ! -p "$1/bell" ] || echo 1<>"$1/bell"
    done_with ''
}

# signal ID NAME
signal() {
    if examine "$1" && [ -n "$takers" ]; then
        if [ "$2" = KILL ]; then
            kill_all "$1"
        elif [ -n "$leader" ] && alive "$leader" "$begun"; then
            if [ "$group" = "$leader" ]; then
                kill -s "$2" -- "-$leader"
            else # between its token and its setsid
                kill -s "$2" "$leader"
            fi
        else # those it left behind, one by one
            find_members "$1"
            for pid in $members; do
                kill -s "$2" "$pid"
            done
        fi
        wake_supervisor
    fi
    done_with ''
}

survivors() {
    members=
    ! examine "$1" || find_members "$1"
    # shellcheck disable=SC2086  # to be counted
    set -- $members
    done_with $#
}

# end ID [REASON MESSAGE…]: an abandoned command. Nobody is left to end it properly, so this does.
# REASON: it never began, if its token is still unsigned.
end() {
    if examine "$1"; then
        if [ $# -gt 1 ] && [ -d "$1" ] && [ -z "$signed" ]; then
            id=$1 reason=$2
            shift 2
            printf '%s\n%s\n' "$reason" "$*" >"$id/refused.$nonce" && mv "$id/refused.$nonce" "$id/refused"
            set -- "$id"
        fi
        kill_all "$1"
        end_feeder "$1"
        if [ -e "$1/exit" ] || [ -e "$1/refused" ]; then
            command : >"$1/done"
        fi
    fi
    done_with ''
}

forestall() {
    mkdir -p .tokens
    echo cancelled >".tokens/.$1.$nonce" && ln ".tokens/.$1.$nonce" ".tokens/$1"
    rm -f ".tokens/.$1.$nonce"
    if ! [ -e ".tokens/$1" ]; then
        fail "its start token cannot be written; is the volume full?"
        return
    fi
    examine "$1"
    [ "$token" = cancelled ] && done_with yes || done_with no
}

clean() {
    remove "$1"
    [ ! -e ".tokens/$1" ] || touch ".tokens/$1" # its seven days begin now
    done_with ''
}

# Removes start tokens whose seven days are over, and what others left half done. Nobody waits for
# it: there may be many, on a slow volume.
prune() {
    {
        for token in $(find .tokens -type f -mtime +6); do
            [ -e "${token#.tokens/}" ] || rm -f "$token"
        done
        find . -type d -name '.old.*' -mmin +60 -prune -exec rm -rf {} +
        find . -type f -name '.*.????????????????*' -mmin +60 -exec rm -f {} +
    } </dev/null >/dev/null 3>&- &
    done_with ''
}

serve() {
    number=0 answer='' container=''
    done_with ready # nothing is asked before: some shells read their script in blocks
    while read -r number verb words; do
        answer=
        # Another life's, or nobody's: whoever asks is to come again and be told so.
        [ "$verb" = hello ] || { lines .life && [ "$line" = "$life" ]; } || exit 0
        # shellcheck disable=SC2086  # to be split
        set -- $words
        case $verb in
        hello | deliver | environ | start | look | poll | feed | close) "$verb" "$@" ;;
        signal | survivors | end | forestall | clean | prune) "$verb" "$@" ;;
        read) read_file "$@" ;;
        *) fail "unknown: $verb" ;;
        esac
    done
    exit 0
}

for place in ${stuck:+$(grep -lszxF -e "$stuck" /proc/[0-9]*/cmdline)}; do
    place=${place#/proc/}
    [ "${place%/cmdline}" = $$ ] || kill -KILL "${place%/cmdline}"
done
missing=
serve
