# Runs as root in test images, under busybox: says of each process what the kernel says of it. Kernel threads have no
# program and are left out.
busybox=/usr/lib/aios/busybox

for process in /proc/[0-9]*; do
    $busybox readlink "$process/exe" > /dev/null || continue
    line="process id=${process#/proc/}"
    while read -r key value; do
        case $key in
            Name:) name=$value ;;
            Uid:) line="$line uid=${value%%[!0-9]*}" ;;
            CapEff:) line="$line cap=$value" ;;
            CapBnd:) line="$line bnd=$value" ;;
            NoNewPrivs:) line="$line nnp=$value" ;;
            Seccomp:) line="$line seccomp=$value" ;;
        esac
    done < "$process/status"
    while read -r group; do
        line="$line group=${group#0::}"
    done < "$process/cgroup"
    for namespace in mnt pid net ipc uts cgroup; do
        line="$line $namespace=$($busybox readlink "$process/ns/$namespace")"
    done
    echo "$line name=$name"
done 2> /dev/null
echo "all processes"
