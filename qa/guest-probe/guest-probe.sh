# Runs as root in test images, under busybox. It acts on cgroups alone, as no program of the system could.
busybox=/usr/lib/aios/busybox
tree=/sys/fs/cgroup

# Milliseconds since the kernel started, in steps of ten.
now() {
    read -r up _ < /proc/uptime
    echo "${up%.*}${up#*.}0"
}

# Whether the kernel has stopped every process of actions: 0 or 1.
frozen() {
    while read -r key value; do
        [ "$key" = frozen ] && echo "$value"
    done < $tree/actions/cgroup.events
}

until_frozen_is() {
    until [ "$(frozen)" = "$1" ]; do
        $busybox usleep 10000
    done
}

lose() {
    begin=$(now)
    echo 1 > "$tree/system/$1/cgroup.kill"
    until_frozen_is 1
    echo "probe: $1 frozen after $(($(now) - begin)) ms"
    until_frozen_is 0
    echo "probe: $1 thawed after $(($(now) - begin)) ms"
}

# Whether a program of the store, which is busybox, runs as an action. Adapters have other names.
running() {
    for action in $tree/actions/*/; do
        [ -f "$action/cgroup.procs" ] || continue
        while read -r process; do
            read -r name < "/proc/$process/comm" && [ "$name" = busybox ] && return 0
        done < "$action/cgroup.procs"
    done 2> /dev/null
    return 1
}

for service in evidence-log policy-kernel; do
    until running; do
        $busybox usleep 50000
    done
    $busybox usleep 300000
    lose $service
    while running; do
        $busybox usleep 50000
    done
    echo "probe: $service done"
done

# Its end would be announced in the middle of answers.
exec $busybox sleep 86400
