# Forks until nothing may be forked any more, and then tries again.
while :; do
    (/usr/lib/aios/busybox sleep 1000 &)
done
