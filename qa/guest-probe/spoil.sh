# Makes one setting's file say something else before anybody measures it, and tells when what was before is back.
busybox=/usr/lib/aios/busybox
spoiled=
while :; do
    read -r name < /etc/hostname
    case "$name:$spoiled" in
        doomed:*)
            echo spoiled > /etc/hostname
            spoiled=yes
            ;;
        spoiled:*) ;;
        *:yes)
            # Not into the middle of an answer.
            $busybox sleep 5
            echo "spoiler: the file says $name again"
            exec $busybox sleep 86400
            ;;
    esac
done
