# Runs as root in test images, under busybox: says every few seconds what the launcher and the action runtime hold.
busybox=/usr/lib/aios/busybox
tree=/sys/fs/cgroup

process_of() {
    read -r process < "$tree/system/$1/cgroup.procs" && echo "$process"
}

entries() {
    set -- "$1"/*
    [ -e "$1" ] || [ -L "$1" ] || shift
    echo $#
}

cgroups() {
    set -- $tree/actions/*/
    [ -d "$1" ] || shift
    echo $#
}

resident() {
    while read -r key value _; do
        [ "$key" = VmRSS: ] && echo "$value"
    done < "/proc/$1/status"
}

number=0
while :; do
    launcher=$(process_of launcher)
    runtime=$(process_of action-runtime)
    number=$((number + 1))
    echo "held number=$number cgroups=$(cgroups) launcher=$(entries "/proc/$launcher/fd")" \
        "runtime=$(entries "/proc/$runtime/fd") mounts=$($busybox wc -l < "/proc/$launcher/mountinfo")" \
        "memory=$(resident "$runtime")"
    $busybox sleep 3
done
