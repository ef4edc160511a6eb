#!/usr/bin/env bash
# Installs Debian packages that are missing.
#   tools/debian-packages.sh                       what the tests need: dcmtk orthanc chromium ...
#   tools/debian-packages.sh --optional PACKAGE... the same, but never fails: says what is missing
set -euo pipefail

optional=0
if [ "${1:-}" = --optional ]; then optional=1; shift; fi
[ $# -gt 0 ] || set -- dcmtk dicom3tools orthanc orthanc-dicomweb chromium libnss3-tools

command_of() {  # the command that shows that a package is here, however it came
  case $1 in
    dcmtk) echo dcmsend ;;
    dicom3tools) echo dciodvfy ;;
    libnss3-tools) echo certutil ;;
    orthanc) echo /usr/sbin/Orthanc ;;
    orthanc-dicomweb) echo /usr/share/orthanc/plugins/libOrthancDicomWeb.so ;;
    *) echo "$1" ;;
  esac
}

missing=()
for package in "$@"; do
  command -v "$(command_of "$package")" >/dev/null 2>&1 || [ -e "$(command_of "$package")" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

give_up() {
  if [ $optional = 1 ]; then
    echo "Not installed: ${missing[*]}. Optional; $1" >&2
    exit 0
  fi
  echo "Missing: ${missing[*]}. $1" >&2
  exit 1
}

command -v apt-get >/dev/null 2>&1 \
  || give_up "this is not Debian: install the packages that bring $(for p in "${missing[@]}"; do command_of "$p"; done | paste -sd' ')."
if [ "$(id -u)" = 0 ]; then
  as_root=()
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  give_up "run this as root: apt-get install --no-install-recommends ${missing[*]}"
fi

echo "Installing Debian packages: ${missing[*]}"
run() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive timeout 900 apt-get -o DPkg::Lock::Timeout=120 -qq "$@" >&2; }
run update || true
run install -y --no-install-recommends "${missing[@]}" \
  || give_up "apt-get failed; run this as root: apt-get install --no-install-recommends ${missing[*]}"

# The package starts a service of its own on ports 4242 and 8042; the tests start Orthanc themselves.
case " ${missing[*]} " in
  *" orthanc "*) if [ -d /run/systemd/system ]; then "${as_root[@]}" systemctl disable --now orthanc >/dev/null 2>&1 || true; fi ;;
esac
