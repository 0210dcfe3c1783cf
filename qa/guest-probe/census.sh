# Runs as root in test images, under busybox: says every few seconds what an agent might have changed. The cgroups of
# actions, the files of the granted folder, and the resident memory of each process of the system.
busybox=/usr/lib/aios/busybox
tree=/sys/fs/cgroup

cgroups() {
    set -- $tree/actions/*/
    [ -d "$1" ] || shift
    echo $#
}

files() {
    $busybox find /aios/groups -type f -exec $busybox md5sum {} + | $busybox sort | $busybox md5sum | $busybox cut -c 1-32
}

resident() {
    while read -r key value _; do
        [ "$key" = VmRSS: ] && echo "$value"
    done < "/proc/$1/status"
}

number=0
while :; do
    number=$((number + 1))
    line="census number=$number actions=$(cgroups) files=$(files)"
    for group in $tree/system/*/; do
        name=${group%/}
        process=
        read -r process < "$group/cgroup.procs" && line="$line ${name##*/}=$(resident "$process")"
    done
    echo "$line"
    $busybox sleep 5
done 2> /dev/null
