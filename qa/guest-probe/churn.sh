# Ends at once, a thousand times.
count=/run/churn
number=$(/usr/lib/aios/busybox cat $count 2> /dev/null || echo 0)
echo $((number + 1)) > $count
[ "$number" -lt 1000 ] && exit 0
exec /usr/lib/aios/busybox sleep 86400
