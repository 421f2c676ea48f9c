<?php
// The cases of table.py with PHP's curl extension: one array of facts for each, as JSON.
[$url, $key, $scan, $large] = array_map("getenv", ["ARGOSY_URL", "ARGOSY_KEY", "SCAN", "LARGE"]);
$curl = curl_init();

/** Status, header fields in lower case, and body. One handle, so one connection while it is kept. */
function call(string $path, array $fields = [], array $options = []): array
{
    global $curl, $url, $key;
    $head = [];
    $fields += ["Authorization" => "Bearer $key"];
    curl_reset($curl);
    curl_setopt_array($curl, [
        CURLOPT_URL => str_starts_with($path, "/") ? "$url$path" : $path,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => array_map(fn($name) => "$name: $fields[$name]", array_keys($fields)),
        CURLOPT_HEADERFUNCTION => function ($_, $line) use (&$head) {
            [$name, $value] = explode(":", $line, 2) + [1 => ""];
            $head[strtolower($name)] = trim($value);
            return strlen($line);
        },
    ] + $options);
    $body = curl_exec($curl);
    return [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), $head, $body];
}

function submitted(string $path, array $fields = []): array
{
    $file = new CURLFile($path, "application/pdf", "Schein für März.pdf");
    return call("/v1/ocr", $fields, [CURLOPT_POSTFIELDS => ["file" => $file]]);
}

function events(string $job, string $last, int $most = 1000): array
{
    $seen = [];
    $unread = "";
    $read = function ($_, $piece) use (&$seen, &$unread, $most) {
        $unread .= $piece;
        while (count($seen) < $most && ($end = strpos($unread, "\n\n")) !== false) {
            $event = substr($unread, 0, $end);
            $unread = substr($unread, $end + 2);
            if (preg_match('/^id: (.*)\ndata: (.*)$/m', $event, $found)) {
                $seen[] = ["id" => $found[1], "data" => json_decode($found[2], true)];
            }
        }
        return count($seen) < $most ? strlen($piece) : 0;
    };
    $fields = $last ? ["Last-Event-ID" => $last] : [];
    [$status] = call("/v1/jobs/$job/events", $fields, [CURLOPT_WRITEFUNCTION => $read]);
    return [$seen, $status];
}

function followed(string $scan): array
{
    $job = json_decode(submitted($scan)[2], true)["id"];
    $first = events($job, "", 1)[0][0];
    [$seen] = events($job, $first["id"]);
    $last = end($seen);
    return [in_array($first["data"], array_column($seen, "data")), $last["data"]["state"], events($job, $last["id"])[1]];
}

function limited(): array
{
    do {
        [$status, $head] = call("/v1/jobs");
    } while ($status === 200);
    sleep((int) $head["retry-after"]);
    return [$status, call("/v1/jobs")[0]];
}

function idle(): array
{
    $before = call("/v1/limits")[0];
    sleep(7);
    $question = [CURLOPT_POSTFIELDS => '{"filter": {"queue": "ocr"}, "dry_run": true}'];
    return [$before, call("/v1/jobs/cancel", ["Content-Type" => "application/json"], $question)[0]];
}

$location = submitted($scan)[1]["location"];
do {
    usleep(200_000);
    $job = json_decode(call($location)[2], true);
} while ($job["finished_at"] === null);
$file = array_column($job["artifacts"], null, "name")["document.pdf"];
$waited = submitted($scan, ["Prefer" => "wait=45"]);
$nobody = ["Authorization" => "Bearer nobody"];
$expect = ["Expect" => "100-continue"];
$part = call($file["url"], ["Range" => "bytes=0-4"]);
echo json_encode([
    "upload" => [$job["state"], $file["filename"]],
    "wait" => [$waited[0], json_decode($waited[2], true)["state"]],
    "chunked" => [submitted($scan, ["Transfer-Encoding" => "chunked"])[0]],
    "refused" => [submitted($large, $nobody)[0], submitted($large)[0]],
    "expect" => [submitted($large, $nobody + $expect)[0], submitted($scan, $expect)[0]],
    "limited" => limited(),
    "events" => followed($scan),
    "download" => [
        $part[0], $part[2], substr(call($file["url"], [], [CURLOPT_ENCODING => ""])[2], 0, 4),
        call($file["url"], ["If-None-Match" => $part[1]["etag"]])[0],
    ],
    "idle" => idle(),
], JSON_UNESCAPED_UNICODE);
