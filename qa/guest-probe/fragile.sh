# Has the kernel die at the next interrupt of unknown cause.
busybox=/usr/lib/aios/busybox
echo 1 > /proc/sys/kernel/unknown_nmi_panic
$busybox sleep 8
echo "fragile: an interrupt is the end now"
exec $busybox sleep 86400
