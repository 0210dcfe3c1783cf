# Kills the action runtime while an action runs, at another point of it each time, once a file tells it to begin.
busybox=/usr/lib/aios/busybox
tree=/sys/fs/cgroup

running() {
    for action in $tree/actions/*/; do
        [ -f "$action/cgroup.procs" ] || continue
        while read -r _; do
            return 0
        done < "$action/cgroup.procs"
    done 2> /dev/null
    return 1
}

until [ -f /aios/groups/home/files/begin ]; do
    $busybox sleep 1
done
for pause in 1 30000 120000 300000; do
    # Until the next runtime has had its sandbox proved and carries out actions again.
    $busybox sleep 6
    until running; do
        $busybox usleep 20000
    done
    $busybox usleep $pause
    echo 1 > $tree/system/action-runtime/cgroup.kill
    echo "killer: the runtime was killed"
done
exec $busybox sleep 86400
