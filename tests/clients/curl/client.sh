#!/usr/bin/env bash
# The cases of table.py with curl: one array of facts for each, as JSON.
set -eu
authorization="Authorization: Bearer $ARGOSY_KEY"
wrong="Authorization: Bearer nobody"
file="file=@$SCAN;filename=Schein für März.pdf"
call() { curl -sS -H "$authorization" "$@"; }
status() { curl -sS -o /dev/null -w '%{http_code}' "$@"; }
member() { python3 -c 'import json, sys; print(eval(sys.argv[1], {"it": json.load(sys.stdin)}))' "$1"; }

location=$(call -o /dev/null -D - "$ARGOSY_URL/v1/ocr" -F "$file" | tr -d '\r' | sed -n 's/^location: //pI')
case $location in /*) location=$ARGOSY_URL$location ;; esac
until call "$location" | grep -q '"finished_at":"'; do sleep 0.2; done
job=$(call "$location")
state=$(member 'it["state"]' <<<"$job")
saved_as=$(member '[a["filename"] for a in it["artifacts"] if a["name"] == "document.pdf"][0]' <<<"$job")
file_url=$(member '[a["url"] for a in it["artifacts"] if a["name"] == "document.pdf"][0]' <<<"$job")
case $file_url in /*) file_url=$ARGOSY_URL$file_url ;; esac
echo "{\"upload\": [\"$state\", \"$saved_as\"]"

waited=$(call -w '\n%{http_code}' -H 'Prefer: wait=45' "$ARGOSY_URL/v1/ocr" -F "$file")
echo ", \"wait\": [${waited##*$'\n'}, \"$(head -1 <<<"$waited" | member 'it["state"]')\"]"

chunked=$(status -H "$authorization" -H 'Transfer-Encoding: chunked' "$ARGOSY_URL/v1/ocr" -F "$file")
echo ", \"chunked\": [$chunked]"

echo ", \"refused\": [$(status -H "$wrong" "$ARGOSY_URL/v1/ocr" -F "file=@$LARGE"),"
echo "$(status -H "$authorization" "$ARGOSY_URL/v1/ocr" -F "file=@$LARGE")]"

echo ", \"expect\": [$(status -H "$wrong" -H 'Expect: 100-continue' "$ARGOSY_URL/v1/ocr" -F "file=@$LARGE"),"
echo "$(status -H "$authorization" -H 'Expect: 100-continue' "$ARGOSY_URL/v1/ocr" -F "$file")]"

until call -D - -o /dev/null "$ARGOSY_URL/v1/jobs" | tr -d '\r' >"$FOLDER/head" && grep -q ' 429 ' "$FOLDER/head"; do :; done
sleep "$(sed -n 's/^retry-after: //pI' "$FOLDER/head")"
echo ", \"limited\": [429, $(status -H "$authorization" "$ARGOSY_URL/v1/jobs")]"

later="options={\"run_at\": \"$(date -u -d '+5 seconds' +%FT%TZ)\"}" # each command takes its time
job=$(call "$ARGOSY_URL/v1/ocr" -F "$file" -F "$later" | member 'it["id"]')
call -N "$ARGOSY_URL/v1/jobs/$job/events" 2>/dev/null | sed '/^data: /q' >"$FOLDER/first" || true
first=$(sed -n 's/^id: //p' "$FOLDER/first")
call -N -H "Last-Event-ID: $first" "$ARGOSY_URL/v1/jobs/$job/events" >"$FOLDER/events"
last=$(sed -n 's/^id: //p' "$FOLDER/events" | tail -1)
ended=$(sed -n 's/^data: //p' "$FOLDER/events" | tail -1 | member 'it["state"]')
again=$(status -H "$authorization" -H "Last-Event-ID: $last" "$ARGOSY_URL/v1/jobs/$job/events")
repeated=$(grep -qxF "$(tail -1 "$FOLDER/first")" "$FOLDER/events" && echo true || echo false)
echo ", \"events\": [$repeated, \"$ended\", $again]"

part=$(call -D "$FOLDER/head" -H 'Range: bytes=0-4' "$file_url")
etag=$(tr -d '\r' <"$FOLDER/head" | sed -n 's/^etag: //pI')
whole=$(call --compressed "$file_url" | head -c 4)
unchanged=$(status -H "$authorization" -H "If-None-Match: $etag" "$file_url")
echo ", \"download\": [$(sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' "$FOLDER/head"), \"$part\", \"$whole\", $unchanged]"

# One process keeps its connection; the transfer in between is slow enough for most servers to close it.
question='{"filter": {"queue": "ocr"}, "dry_run": true}'
idle=$({ call -o /dev/null -w '%{http_code} %{num_connects}\n' "$ARGOSY_URL/v1/limits" \
  --next -sS -o /dev/null "file://$SCAN" --limit-rate "$(($(stat -c %s "$SCAN") / 7))" \
  --next -sS -o /dev/null -w '%{http_code} %{num_connects}\n' -H "$authorization" \
  -H 'Content-Type: application/json' -d "$question" "$ARGOSY_URL/v1/jobs/cancel"; } | tr '\n' ' ')
read -r one _ two connects <<<"$idle"
[ "$connects" = 0 ] || two=-1
echo ", \"idle\": [$one, $two]"

echo ", \"versions\": [$(status --http1.0 -H "$authorization" "$ARGOSY_URL/v1/ocr" -F "$file"),"
echo "$(status --http2 -H "$authorization" "$ARGOSY_URL/v1/ocr" -F "$file")]}"
