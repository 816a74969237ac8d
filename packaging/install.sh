#!/bin/sh
# Installs khactl from its tarball on a system without dpkg, as root: programs, units, users, completions, man
# pages. Run again it upgrades: the agent is restarted and khavip hands the VIP over; the other components are left as they are.
#
#   ./install.sh             into /usr/local, units into /etc/systemd/system
#   ./install.sh --remove    takes the same files away; data and what runs stay
set -eu
cd "$(dirname "$0")"

PREFIX=/usr/local
UNITS=/etc/systemd/system

[ "$(id -u)" = 0 ] || { echo "install: needs root" >&2; exit 1; }
systemd=false
[ -d /run/systemd/system ] && systemd=true

# Every file with its place, one pair a line.
files() {
  printf '%s %s\n' usr/bin/khactl "$PREFIX/bin/khactl" usr/bin/khad "$PREFIX/bin/khad" \
    usr/bin/khavip "$PREFIX/bin/khavip" usr/lib/khactl/stop-host "$PREFIX/lib/khactl/stop-host" \
    lib/systemd/system/khad.service "$UNITS/khad.service" \
    lib/systemd/system/khactl-shutdown.service "$UNITS/khactl-shutdown.service" \
    usr/share/bash-completion/completions/khactl "$PREFIX/share/bash-completion/completions/khactl" \
    usr/share/zsh/vendor-completions/_khactl "$PREFIX/share/zsh/site-functions/_khactl" \
    usr/share/fish/vendor_completions.d/khactl.fish "$PREFIX/share/fish/vendor_completions.d/khactl.fish"
  for page in usr/share/man/man*/*; do
    echo "$page $PREFIX/share/${page#usr/share/}"
  done
}

if [ "${1:-}" = --remove ]; then
  if $systemd; then
    systemctl disable khactl-shutdown.service || true
    systemctl disable --now khad.service || true
  fi
  files | while read -r _ to; do rm -f "$to"; done
  rmdir "$PREFIX/lib/khactl" 2>/dev/null || true
  if $systemd; then systemctl daemon-reload; fi
  echo "install: removed; components that run go on, and /etc/khactl, /var/lib/khactl, /var/log/khactl stay"
  exit
fi

files | while read -r from to; do
  mkdir -p "$(dirname "$to")"
  # Beside and over it: a program that runs keeps its own.
  cp -p "$from" "$to.new"
  case "$to" in
    */khad.service | */khactl-shutdown.service | */stop-host)
      sed -i "s|/usr/bin/kha|$PREFIX/bin/kha|g; s|/usr/lib/khactl/|$PREFIX/lib/khactl/|g" "$to.new" ;;
  esac
  mv "$to.new" "$to"
done
mkdir -p /etc/khactl /var/log/khactl
mkdir -p -m 0711 /var/lib/khactl
for user in khactl-etcd khactl-apiserver khactl-controller-manager khactl-scheduler; do
  id "$user" >/dev/null 2>&1 ||
    useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --user-group "$user"
done
if $systemd; then
  systemctl daemon-reload
  systemctl try-restart khad.service
  systemctl enable --now khactl-shutdown.service khad.service
  # A khavip of the program that was replaced: SIGTERM hands the VIP over, and the agent starts the new one.
  if systemctl --quiet is-active khad.service; then
    for exe in /proc/[0-9]*/exe; do
      if [ "$(readlink "$exe" 2>/dev/null)" = "$PREFIX/bin/khavip (deleted)" ]; then
        process="${exe#/proc/}"
        kill -TERM "${process%/exe}" || true
      fi
    done
  fi
  echo "install: khad runs; next: khactl preflight"
else
  echo "install: there is no systemd: start $PREFIX/bin/khad by what there is, so that its children outlive it"
fi
