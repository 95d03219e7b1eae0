#!/usr/bin/env bash
# image_check.sh ENGINE IMAGE: the image serves as a plain user on a read-only root without capabilities, carries a
# call to an origin, has Python as PID 1, and leaves with code 0 on SIGTERM. Loopback of the host only.
set -euo pipefail
read -ra engine <<<"$1"  # more than one word: "podman --root DIR"
image=$2
name=sidegate-image-check-$$
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
folder=$(mktemp -d)
echo "from the origin" > "$folder/hello"
python3 -m http.server "$port" --bind 127.0.0.1 --directory "$folder" >/dev/null 2>&1 &
origin=$!
clean() { kill "$origin" 2>/dev/null; "${engine[@]}" rm -f "$name" >/dev/null 2>&1; rm -rf "$folder"; }
trap clean EXIT

began=$(date +%s%N)
"${engine[@]}" run -d --name "$name" --network host --read-only --cap-drop ALL --security-opt no-new-privileges "$image" \
  run --upstream "http://127.0.0.1:$port" --listen 127.0.0.1:0 --ops 127.0.0.1:0 --admin 127.0.0.1:0 >/dev/null
for _ in $(seq 300); do
  ready=$("${engine[@]}" logs "$name" 2>/dev/null | grep -m1 '"ready"' || true)
  [ -z "$ready" ] || break
  sleep 0.02
done
took=$((($(date +%s%N) - began) / 1000000))
[ -n "$ready" ] || { echo "never ready:"; "${engine[@]}" logs "$name"; exit 1; }
listen=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["listen"])' "$ready")

[ "$(curl -sf --noproxy '*' "http://$listen/hello")" = "from the origin" ] || { echo "the call did not come through"; exit 1; }
pid=$("${engine[@]}" inspect -f '{{.State.Pid}}' "$name")
grep -qa python "/proc/$pid/cmdline" || { echo "PID 1 is not Python"; exit 1; }
[ "$(awk '/^Uid/ {print $2}' "/proc/$pid/status")" = 8880 ] || { echo "not the plain user"; exit 1; }
"${engine[@]}" stop -t 20 "$name" >/dev/null
code=$("${engine[@]}" inspect -f '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] || { echo "left with code $code on SIGTERM"; exit 1; }
echo "image check passed: serves read-only as 8880, Python is PID 1, code 0 on SIGTERM; served $took ms after the engine was asked"
