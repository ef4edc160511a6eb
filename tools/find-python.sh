#!/usr/bin/env bash
# Prints the first Python here that is 3.11 or newer; PYTHON=... overrides.
set -euo pipefail
for python in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
  if path=$(command -v "$python") && "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "$path"
    exit 0
  fi
done
echo "No Python 3.11 or newer is here. On Debian 12: apt-get install python3 python3-venv. Or say: make PYTHON=/path/to/python3" >&2
exit 1
