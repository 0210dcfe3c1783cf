# Forks until nothing may be forked any more, and goes on trying.
while :; do
    (/usr/lib/aios/busybox sleep 1000 &)
done
