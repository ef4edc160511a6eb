#!/usr/bin/env bash
# Leadglass as a systemd service. Run as root, from a checkout in which `make setup` has fetched the viewer.
#   install.sh install [--hostname NAME]   user, venv, root key, home, unit; starts it
#   install.sh upgrade                     a new venv beside the old one, which stays for `rollback`
#   install.sh rollback                    back to the venv before the last upgrade
#   install.sh uninstall [--purge]         removes the program; data and key stay, unless --purge is typed out
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
prefix=/opt/leadglass
state=/var/lib/leadglass
config=/etc/leadglass
share=/usr/share/leadglass
unit=/etc/systemd/system/leadglass.service

die() { echo "install.sh: $*" >&2; exit 1; }

make_venv() {  # a whole new venv, then one rename of the link: the old one is never half changed
  local python new
  [ -d "$root/viewer/dist/ohif" ] || die "no viewer in $root/viewer/dist. Run: make setup"
  python=$("$root/tools/find-python.sh")
  case $("$python" -c 'import sys; print(sys.base_prefix)') in
    /root*|/home*) die "$python lies in a home directory, which the service cannot see. Say: PYTHON=/usr/bin/python3 $0 ..." ;;
  esac
  new=$prefix/$(date -u +%Y%m%dT%H%M%SZ)
  install -d -m 0755 "$prefix"
  "$python" -m venv "$new"
  "$new/bin/python" -m pip install --quiet --require-hashes --only-binary :all: -r "$root/requirements.lock"
  "$new/bin/python" -m pip install --quiet --no-deps --no-build-isolation --no-index "$root"
  cp -R "$root/docs" "$new/docs"
  if [ -L "$prefix/current" ]; then ln -sfn "$(readlink "$prefix/current")" "$prefix/previous"; fi
  ln -sfn "$new" "$prefix/.next"
  mv -T "$prefix/.next" "$prefix/current"
  rm -rf "$share/viewer.new"
  install -d -m 0755 "$share"
  cp -R "$root/viewer/dist" "$share/viewer.new"
  chmod -R a+rX "$prefix/current/" "$share/viewer.new"
  rm -rf "$share/viewer"
  mv "$share/viewer.new" "$share/viewer"
  install -m 0644 "$root/deploy/systemd/leadglass.service" "$unit"
  systemctl daemon-reload
}

make_key() {
  install -d -m 0700 "$config"
  [ -e "$config/root-key" ] || [ -e "$config/root-key.cred" ] || (umask 077; od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' > "$config/root-key")
}

make_home() {  # in the unit's own way: same user, same credential, same walls
  local credential=LoadCredential=root-key:$config/root-key
  [ ! -e "$config/root-key.cred" ] || credential=LoadCredentialEncrypted=root-key:$config/root-key.cred
  systemd-run --quiet --pipe --wait --collect --uid=leadglass --gid=leadglass \
    --property="$credential" --property=UMask=0077 --property=ProtectSystem=strict \
    --property=StateDirectory=leadglass --property=StateDirectoryMode=0700 --property=PrivateTmp=yes \
    "$prefix/current/bin/leadglass" init --home "$state" --hostname "$1" --key-source credential:root-key
}

case ${1:-} in
  install|upgrade|rollback|uninstall) verb=$1; shift ;;
  *) sed -n '2,6p' "$0" | cut -c3-; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || die "run this as root."
command -v systemctl >/dev/null || die "systemd is not here."

case $verb in
  install)
    name=$(hostname -f)
    if [ "${1:-}" = --hostname ]; then name=${2:?--hostname NAME}; fi
    getent passwd leadglass >/dev/null \
      || useradd --system --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin leadglass
    make_venv
    make_key
    make_home "$name"
    systemctl enable --now leadglass
    echo "Leadglass runs. Copy $config/root-key to a safe place: without it nothing stored here can ever be read." ;;
  upgrade)
    [ -L "$prefix/current" ] || die "nothing is installed. Run: install.sh install"
    make_venv
    systemctl restart leadglass
    echo "Upgraded. The venv before is $(readlink "$prefix/previous"); go back with: install.sh rollback" ;;
  rollback)
    [ -L "$prefix/previous" ] || die "there is no venv to go back to."
    ln -sfn "$(readlink "$prefix/previous")" "$prefix/.next"
    mv -T "$prefix/.next" "$prefix/current"
    systemctl restart leadglass
    echo "Back at $(readlink "$prefix/current")." ;;
  uninstall)
    if [ "${1:-}" = --purge ]; then
      read -rp "This destroys every image and the key in $state and $config. Type: destroy all images  > " typed
      [ "$typed" = "destroy all images" ] || die "nothing was changed."
    fi
    systemctl disable --now leadglass 2>/dev/null || true
    rm -rf "$unit" "$prefix" "$share"
    systemctl daemon-reload
    if [ "${1:-}" = --purge ]; then
      rm -rf "$state" "$config"
      userdel leadglass 2>/dev/null || true
    else
      echo "Data stay in $state, the key in $config."
    fi ;;
esac
