# Opens the same file until it may open nothing more, and keeps all of it open.
files=
number=0
while [ $number -lt 512 ]; do
    files="$files /etc/hostname"
    number=$((number + 1))
done
exec /usr/lib/aios/busybox tail -f $files > /dev/null 2>&1
