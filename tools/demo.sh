#!/usr/bin/env bash
# A server with sample studies: demo.sh BIN HOME [options of serve]
# Uses the server of HOME where one runs; else starts one, and stops it with Ctrl-C.
set -euo pipefail
bin=$1 home=$2
shift 2
tools=$(cd "$(dirname "$0")" && pwd)
ready=$home/run/ready.json

field() { "$bin/python" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$ready" "$1"; }
is_up() { [ -e "$ready" ] && kill -0 "$(field pid)" 2>/dev/null; }

"$bin/leadglass" init --home "$home" --hostname "${LEADGLASS_HOSTNAME:-localhost}"
"$tools/offer-trust.sh" "$bin/leadglass" "$home"

server=
samples=$(mktemp -d)
finish() {
  rm -rf "$samples"
  if [ -n "$server" ]; then kill -TERM "$server" 2>/dev/null || true; wait "$server" || true; fi
}
trap finish EXIT
trap 'exit 130' INT TERM
if ! is_up; then
  "$bin/leadglass" serve --home "$home" "$@" &
  server=$!
  for _ in $(seq 300); do
    is_up && break
    kill -0 "$server" 2>/dev/null || { echo "The server did not start: see above." >&2; exit 1; }
    sleep 0.1
  done
  is_up || { echo "The server was not ready within 30 s." >&2; exit 1; }
fi

echo "Making sample studies of people who do not exist..."
"$bin/python" "$tools/make_phantom.py" "$samples" --patients 3 --seed 1
"$bin/leadglass" import "$samples" --home "$home"
rm -rf "$samples"

cat <<EOF

The sample studies are in. What to do now:
  1. Open the one-time link above (if none is printed, the administrator is enrolled already).
  2. In another shell, confirm the six digits that the page shows:
       $bin/leadglass people confirm admin --home $home
  3. An administrator sees no images. Invite a reader, and enrol with the link it prints:
       $bin/leadglass people add reader --role radiologist --home $home
  4. Sign in as the reader at $(field https) and open a study.
EOF
if [ -n "$server" ]; then
  echo "Ctrl-C stops the server."
  wait "$server"
fi
