# The first process of a lab host (pid 1 in its namespaces): lays the host's mounts, says that it is
# ready and with which number the machine knows it, and then reaps orphans until the power cut.
# Arguments: host name, its disk, folder of programs or "", folder of the bundle or "".
set -eu
host=$1 disk=$2 programs=$3 bundle=$4

# The machine's /proc is still mounted here: it has this shell's number outside.
read -r pid rest </proc/self/stat
mount -t proc proc /proc
echo "$host" >/proc/sys/kernel/hostname

# The machine's /etc with this host's own changes over it, so that users that one host makes are not
# the others'. A whole copy is slow while the disk is busy: only where it cannot carry an overlay.
over="$disk/system-etc"
mkdir -p "$over/changes" "$over/work"
layers="lowerdir=/etc,upperdir=$over/changes,workdir=$over/work"
if ! mount -t overlay -o "$layers" overlay /etc 2>/dev/null; then
  [ -d "$over/copy" ] || { rm -rf "$over/new" && cp -a /etc "$over/new" && mv "$over/new" "$over/copy"; }
  mount --bind "$over/copy" /etc
fi
mkdir -p /etc/khactl

# The host's folders at the fixed paths. /run goes with the power, the others are its disk.
mount --bind "$disk/etc" /etc/khactl
mount --bind "$disk/data" /var/lib/khactl
mount --bind "$disk/log" /var/log/khactl
mount -t tmpfs -o mode=0755 tmpfs /run/khactl
mount -t tmpfs -o mode=0755 tmpfs /opt/khactl
echo "$host" >/etc/hostname

mkdir /opt/khactl/bin /opt/khactl/bundles
[ -z "$programs" ] || mount --bind "$programs" /opt/khactl/bin
if [ -n "$bundle" ]; then
  inside="/opt/khactl/bundles/$(basename "$bundle")"
  mkdir "$inside"
  mount --bind "$bundle" "$inside"
fi

# /sys of this network namespace, with the machine's cgroups where they were.
mkdir /opt/khactl/cgroup
mount --rbind /sys/fs/cgroup /opt/khactl/cgroup
mount -t sysfs sysfs /sys
mount --rbind /opt/khactl/cgroup /sys/fs/cgroup
umount -l /opt/khactl/cgroup
rmdir /opt/khactl/cgroup
# Its own cgroup is the root of the unified hierarchy, so that what the host makes there stands still and goes with it.
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
for root in /sys/fs/cgroup /sys/fs/cgroup/unified; do
  if [ "${own:-/}" != / ] && [ -f "$root/cgroup.controllers" ] && [ -d "$root$own" ]; then
    mount --bind "$root$own" "$root"
    break
  fi
done

cd /
echo "ready $pid"
exec </dev/null >/dev/null 2>&1
set +e
while :; do
  (exec -a lab-idle sleep infinity) &
  wait $!
done
