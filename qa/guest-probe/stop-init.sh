# Stops PID 1 in the only way that works: no signal does, but its cgroup can be frozen.
busybox=/usr/lib/aios/busybox
stuck=/sys/fs/cgroup/stuck
$busybox sleep 8
$busybox mkdir $stuck
echo 1 > $stuck/cgroup.procs
echo "stopper: PID 1 stands still now"
$busybox sleep 1
echo 1 > $stuck/cgroup.freeze
exec $busybox sleep 86400
