# Runs as root in test images, under busybox: floods its log, then fills the file system that logs are kept on, then goes on
# talking, and at the end gives the room back.
busybox=/usr/lib/aios/busybox

echo "<5>before the flood"
$busybox yes "a line of a flood that nobody wants to read" | $busybox head -c 67108864
echo "<3>after the flood"
$busybox sleep 6
echo "<5>the flood is over"
# A file grows until the file system has no room left.
$busybox dd if=/dev/zero of=/aios/system/ballast bs=65536 2> /dev/null
echo "<4>the disk is full"
$busybox sleep 8
for number in 1 2 3; do
    echo "<5>said on a full disk: $number"
    $busybox sleep 1
done
$busybox sleep 20
$busybox rm /aios/system/ballast
echo "<5>there is room again"
exec $busybox sleep 86400
