# Starts one command at most once, and sees it to its end with nobody attached.
#
#   sh supervisor.sh DIRECTORY TOKEN ROOT DRAIN_CS      (DRAIN_CS: hundredths of a second)
#
# POSIX sh (dash, bash, busybox ash) with cat, grep, sleep, setsid, sync, mv and rm. The same script runs
# in a folder and in a pod, so whatever must hold is written here. Call it with an environment
# of PATH alone (`env -i PATH=...`): what it has, the command inherits.
#
# In DIRECTORY it finds `launch` (see launch_file.py) and perhaps
#   stdin       what the command reads; without it, nothing
#   fifo, bell  fifos: stdin stays open, and whoever appends to `stdin` rings by a line into `bell`
#   closed      empty; nothing more is appended
#   cgroups     control groups for the command, one folder a line
# and leaves
#   out, err    what the command wrote
#   by:TAKER    empty; one a leader that reached for the token (see lead)
#   feeder      `<pid>:<start>` of what copies stdin into fifo, through its descriptor 7
#   refused     reason and message, where the leader declined: then nothing was run
#   exit        the leader's status and a newline, at once after its end
#   done        empty; nothing of the command is alive, out and err are final
#   synced      empty; out, err and exit are on the disk too, so they outlive a power cut
# TOKEN holds TAKER, `<leader pid>:<its start>:<supervisor pid>:<its start>:<boot id>`, with
# start as in field 22 of /proc/PID/stat; whoever creates it owns the command.
#
# Forks are what costs here. Up to the command's first byte there is one; that is why the token
# is a noclobber redirection (O_CREAT|O_EXCL) and not an `ln` or a `mkdir`.

dir=$1 token=$2 root=$3 drain=$4
id=${dir##*/}
umask 022
# From here on a stranger who makes a directory of the same name gets nothing from us.
cd -- "$dir" || exit 1
[ -e "$token" ] && exit 0
# Caught, not ignored: a caught signal is at its default again in what we start.
trap : HUP INT TERM

# Sets pid and start to those of the process that runs this: $$ is not a subshell's.
identify() {
    read -r stat </proc/self/stat
    pid=${stat%% *}
    # shellcheck disable=SC2086  # to be split; the program's name, with its ")", is cut off
    set -- ${stat##*) }
    start=${20}
}

# Hundredths of a second since boot.
clock() {
    read -r now _ </proc/uptime
    now=${now%.*}${now#*.}
}

# Removes what the command has put in the place of the file $1 if that is none: to open it might
# wait for ever.
clear() {
    if [ -e "$1" ] || [ -L "$1" ]; then
        { [ -f "$1" ] && [ ! -L "$1" ]; } || rm -rf "./$1"
    fi
}

# Creates the file $1 holding $2. A full disk is waited for: the end of a command must not get
# lost over it. Gives up when the directory is gone.
put() {
    until clear "$1" && echo "$2" >"$1"; do
        [ -d "$dir" ] || exit 1
        sleep 1
    done
}

# Sets found to where the program $1 lies on the path $2.
locate() {
    found=
    IFS=:
    set -f
    for place in $2; do
        if [ -f "${place:-.}/$1" ] && [ -x "${place:-.}/$1" ]; then
            found=${place:-.}/$1
            break
        fi
    done
    set +f
    unset IFS
    [ -n "$found" ]
}

# A full disk is waited for here too: an exit status would say that something had run.
refuse() {
    until printf '%s\n%s\n' "$1" "$2" >"$dir/refused.new" && mv "$dir/refused.new" "$dir/refused"; do
        [ -d "$dir" ] || exit 1
        sleep 1
    done
    exit 127
}

# Declines where no process is to be had, so none for mv either.
give_up() {
    printf '%s\n%s\n' infrastructure \
        "no process can be made in this workspace; end some, or raise its limit" \
        >"$dir/refused.new" && exec mv "$dir/refused.new" "$dir/refused"
}

# For launch: go to $1 below the workspace, wherever symlinks lead.
enter() {
    cd -P -- "$root" || refuse cwd_not_found "the workspace's folder is missing"
    top=${PWD%/}
    case $1 in
    /*) cd -P -- "$1" ;;
    *) cd -P -- "./$1" ;;
    esac || refuse cwd_not_found "$1: no such folder in this workspace"
    case $PWD/ in
    "$top"/*) ;;
    *) refuse cwd_outside_workspace "$1: outside this workspace" ;;
    esac
    unset OLDPWD SHLVL
}

# For launch: see that $1 can be found on the path $2, the command's.
program() {
    case $1 in
    */*) return ;;
    esac
    locate "$1" "$2" ||
        refuse program_not_found "$1: not found in this workspace; install it there or set PATH"
}

# Joins the control groups. The 0 is whoever writes it.
join() {
    while read -r group; do
        echo 0 >"$group/cgroup.procs" ||
            refuse limits_not_enforceable "cannot join $group; ask without memory_mb and processes"
    done <cgroups
}

# Copies stdin (7) to the leader (1) as it grows. Every cat goes on where the last one ended: they
# share the descriptor's offset, so each byte is copied once. Between two it blocks on the bell
# (6), which it holds open for writing too, so it never sees its end. Whoever removes the directory
# renames it first and then ends the feeder that it tells of: one that comes later finds it gone.
feed() {
    identify
    put feeder "$pid:$start"
    last=
    while [ -d "$dir" ] && cat <&7 && [ -z "$last" ] && [ ! -e exit ] && [ ! -e refused ]; do
        if [ -e closed ]; then
            last=yes # what came before it may have come after that cat
        else
            read -r _ <&6
        fi
    done
}

# Becomes the command. Nothing of the caller's is read before the token is ours. Between the
# token's creation and its content a kill -9 leaves it empty: then by:TAKER tells who may have
# taken it.
lead() {
    identify
    me=$pid:$start:$supervisor:$boot
    : >"by:$me" || exit 1 # a full disk, where the shell does not end by itself
    took=
    taker=
    set -C
    { took=yes && echo "$me" >&5; } 5>"$token"
    set +C
    [ -n "$took" ] || exit 0
    read -r taker <"$token"
    if [ "$taker" != "$me" ]; then # a full disk; nothing has begun, so another may try later
        rm -f "$token"
        exit 1
    fi
    [ -n "$setsid" ] || refuse setsid_not_found "setsid: not found; install util-linux or busybox"
    if [ -p fifo ]; then
        # Opened for both first, as who opens one end waits for the other's, and either may be
        # killed. In between two shells, so that the feeder is no child of the command's.
        exec 8<>fifo 9>fifo <fifo 8<&-
        # Where it cannot fork, a shell ends by itself.
        trap give_up EXIT
        (feed 6<>bell 7<stdin </dev/null >&9 2>/dev/null 3>&- 4>&- 9>&- &) || exit
        trap - EXIT
        exec 9>&-
    fi
    [ ! -e cgroups ] || join
    set -- "$setsid"
    . "$dir/launch"
    # Not reached, but where a power cut left nothing in that file.
    refuse infrastructure "its launch file is empty; submit it again"
}

# Whether anything of the command is alive; sets alive to what carries its id or is in its control
# groups. $1: only pids between that one and the last one handed out are looked at; 0: all. Zombies
# carry nothing.
look() {
    find_carriers "$1"
    [ ! -f cgroups ] || members
    [ -n "$alive" ] || { kill -0 "-$leader" 2>/dev/null && in_group; }
}

# Sets alive to what carries the id. Who forks and ends between the listing and the reading is in
# neither, and who is being exec'ed has no environment for a moment: nothing is believed to be there
# before two looks one after the other have found nothing, the second in none but those of the first.
find_carriers() {
    alive=
    floor=$1
    before=
    for round in 1 2 3 4 5 6 7 8; do
        if [ "$floor" -eq 0 ]; then
            set -- /proc/[0-9]*/environ
        else
            set --
            last=
            for place in /proc/[0-9]*; do
                # Once all are listed: none of those in question has a higher pid.
                [ -n "$last" ] || read -r _ _ _ _ last </proc/loadavg
                pid=${place#/proc/}
                [ "$pid" -le "$floor" ] || [ "$pid" -gt "$last" ] || set -- "$@" "$place/environ"
            done
            if [ "$last" -lt "$floor" ]; then
                floor=0 # they have come round meanwhile
                continue
            fi
        fi
        [ $# -gt 0 ] || return 0
        # Who was listed before is there again, in the same order, or is gone.
        rest=$before
        for place in "$@"; do
            case $rest in
            *"$place"*) rest=${rest#*"$place"} ;;
            *) rest=new && break ;;
            esac
        done
        # Asked before the look: who has an environment by then keeps it, but for another exec.
        again=yes
        [ "$rest" = new ] || in_between "$@" || again=
        alive=$(grep -lszxF -e "RDEV_COMMAND_ID=$id" "$@")
        { [ -z "$alive" ] && [ -n "$again" ]; } || return 0
        [ "$rest" = new ] || pause 0.02
        before=$*
    done
}

# Whether one of these has no environment although it is a program's: it is being exec'ed, which may
# last on a busy machine. The kernel's own and zombies have no program.
in_between() {
    for place in $(grep -Lsz "" "$@"); do
        [ ! -e "${place%environ}exe" ] || return 0
    done
    return 1
}

members() {
    while read -r group; do
        while read -r member; do
            alive="$alive $member"
        done <"$group/cgroup.procs"
    done <cgroups
}

# Whether the leader's process group has a member that is no zombie: where nobody reaps orphans
# (a pod whose PID 1 does not), zombies keep the group in being for ever. One with more threads than
# one is none: its first has ended, the others run.
in_group() {
    for place in /proc/[0-9]*/stat; do
        read -r stat <"$place" || continue
        # shellcheck disable=SC2086  # state, parent, group, and as the 18th threads
        set -- ${stat##*) }
        case $3:$1:${18} in
        "$leader":[ZX]:[01]) ;;
        "$leader":*) return 0 ;;
        esac
    done
    return 1
}

# The same, for right after the leader's end. Pids are handed out upwards and wrap around at
# 32768 or more: what a leader of the last second begot has a pid between its own and the last one
# handed out, unless that is below the leader's. Mostly there is none, and nothing to fork for, also
# where they came round long ago and what has run since has higher ones.
look_quickly() {
    clock
    read -r _ _ _ _ last </proc/loadavg
    if [ $((now - begun)) -ge 100 ] || [ "$last" -lt "$leader" ]; then
        look 0
    else
        look "$leader"
    fi
}

pause() {
    sleep "$1" 2>/dev/null || sleep 1 # POSIX knows whole seconds only
}

# Lets what the leader left behind go on for DRAIN_CS, then kills it, also what called setsid.
# What cannot be killed (stuck in the kernel) is given up after some seconds.
end_descendants() {
    look_quickly || return 0
    clock
    deadline=$((now + drain))
    while [ "$now" -lt "$deadline" ]; do
        pause 0.02
        look 0 || return 0
        clock
    done
    rounds=0
    while [ $rounds -lt 200 ]; do
        for place in $alive; do
            place=${place#/proc/}
            kill -KILL "${place%/environ}"
        done
        kill -KILL "-$leader"
        pause 0.02
        look 0 || return 0
        rounds=$((rounds + 1))
    done
}

# In braces, and ended before they are: so all of it is read before any of it is done, and an upgrade
# may write another script over this one.
{
    identify
    supervisor=$pid:$start
    boot=
    read -r boot </proc/sys/kernel/random/boot_id
    locate setsid "$PATH"
    setsid=$found
    clock
    begun=$now

    # In the foreground: what a script starts with & has INT and QUIT ignored for good.
    if [ -e stdin ]; then
        (lead) <stdin 3>>out 4>>err
    else
        (lead) </dev/null 3>>out 4>>err
    fi
    status=$?

    taker=
    [ ! -f "$token" ] || read -r taker <"$token"
    case $taker in
    *:"$supervisor:$boot") ;;
    *) exit 0 ;; # another one's; not ours to touch
    esac
    leader=${taker%%:*}
    [ -e refused ] || put exit "$status"
    [ ! -p bell ] || echo 1<>bell # the feeder has no more to do
    end_descendants 2>/dev/null
    put done ""
    # Last, when nobody waits for it any more.
    [ -f done ] && [ -f out ] && [ -f err ] && [ -f exit ] && sync out err exit 2>/dev/null &&
        clear synced && : >synced
    exit 0
}
