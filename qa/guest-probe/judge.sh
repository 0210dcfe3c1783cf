# Looks at PID 1 before and after everything that others do to it. It prints whole lines with one number each.
busybox=/usr/lib/aios/busybox
tree=/sys/fs/cgroup

now() {
    read -r up _ < /proc/uptime
    echo "${up%.*}${up#*.}0"
}

resident() {
    while read -r key value _; do
        [ "$key" = VmRSS: ] && echo "$value"
    done < /proc/1/status
}

descriptors() {
    set -- /proc/1/fd/*
    echo $#
}

zombies() {
    count=0
    for stat in /proc/[0-9]*/stat; do
        read -r line < "$stat" || continue
        case "${line##*) }" in Z*) count=$((count + 1)) ;; esac
    done 2> /dev/null
    echo $count
}

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

churned() {
    cat /run/churn 2> /dev/null || echo 0
}

cat() {
    $busybox cat "$@"
}

until [ "$(churned)" -ge 100 ]; do
    $busybox sleep 1
done
echo "judge: resident before $(resident) KiB"
echo "judge: descriptors before $(descriptors) open"

hoarded=0
until [ "$hoarded" -ge 256 ]; do
    $busybox sleep 1
    read -r hoard < $tree/system/hoard/cgroup.procs
    set -- /proc/"$hoard"/fd/*
    hoarded=$#
done
echo "judge: hoarded $hoarded descriptors"
opened=0
: < /etc/hostname && opened=1
echo "judge: opened besides $opened file"

number=0
while [ $number -lt 10000 ]; do
    ( : & )
    number=$((number + 1))
done
echo "judge: orphans made 10000"

read -r log < $tree/system/evidence-log/cgroup.procs
begin=$(now)
kill -STOP "$log"
until_frozen_is 1
echo "judge: frozen after $(($(now) - begin)) ms"
until_frozen_is 0
echo "judge: thawed after $(($(now) - begin)) ms"

until [ "$(churned)" -ge 1000 ]; do
    $busybox sleep 1
done
$busybox sleep 3
echo "judge: zombies left $(zombies) of them"
echo "judge: resident after $(resident) KiB"
echo "judge: descriptors after $(descriptors) open"
echo "judge: all done"
exec $busybox sleep 86400
