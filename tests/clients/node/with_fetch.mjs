// The cases of table.py with Node's fetch: one array of facts for each, as JSON.
import { openAsBlob, createReadStream } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const { ARGOSY_URL: url, ARGOSY_KEY: key, SCAN, LARGE } = process.env;
const bearer = { Authorization: `Bearer ${key}` };
const call = (path, options = {}) =>
  fetch(new URL(path, url), { ...options, headers: { ...bearer, ...options.headers } });

async function submitted(path = SCAN, headers = {}) {
  const body = new FormData();
  body.append("file", await openAsBlob(path), "Schein für März.pdf");
  return call("/v1/ocr", { method: "POST", body, headers });
}

async function status(answer) {
  await (await answer).arrayBuffer();
  return (await answer).status;
}

async function ended(location) {
  for (;;) {
    const job = await (await call(location)).json();
    if (job.finished_at) return job;
    await sleep(200);
  }
}

async function* body() {
  yield Buffer.from('--b\r\nContent-Disposition: form-data; name="file"; filename="scan.pdf"\r\n\r\n');
  yield* createReadStream(SCAN);
  yield Buffer.from("\r\n--b--\r\n");
}

async function chunked() {
  const headers = { "Content-Type": "multipart/form-data; boundary=b" };
  return status(call("/v1/ocr", { method: "POST", body: body(), duplex: "half", headers }));
}

async function events(job, last, most = 1000) {
  const seen = [];
  const answer = await call(`/v1/jobs/${job}/events`, { headers: last ? { "Last-Event-ID": last } : {} });
  if (answer.status === 204) return 204;
  let unread = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const parts = (unread + piece).split("\n\n");
    unread = parts.pop();
    for (const part of parts) {
      const event = Object.fromEntries(part.split("\n").map((line) => line.split(/: (.*)/s)));
      if (event.id) seen.push(event);
      if (seen.length === most) return seen;
    }
  }
  return seen;
}

async function followed() {
  const job = (await (await submitted()).json()).id;
  const [first] = await events(job, "", 1);
  const seen = await events(job, first.id);
  const last = seen.at(-1);
  return [seen.some(({ data }) => data === first.data), JSON.parse(last.data).state, await events(job, last.id)];
}

async function limited() {
  let answer;
  do {
    answer = await call("/v1/jobs");
    await answer.arrayBuffer();
  } while (answer.ok);
  await sleep(answer.headers.get("Retry-After") * 1000);
  return [answer.status, await status(call("/v1/jobs"))];
}

async function idle() {
  const before = await status(call("/v1/limits"));
  await sleep(7000);
  const body = JSON.stringify({ filter: { queue: "ocr" }, dry_run: true });
  const headers = { "Content-Type": "application/json" };
  return [before, await status(call("/v1/jobs/cancel", { method: "POST", body, headers }))];
}

async function download(file) {
  const part = await call(file, { headers: { Range: "bytes=0-4" } });
  const unchanged = await status(call(file, { headers: { "If-None-Match": part.headers.get("ETag") } }));
  const whole = (await (await call(file)).text()).slice(0, 4);
  return [part.status, await part.text(), whole, unchanged];
}

const job = await ended((await submitted()).headers.get("Location"));
const file = job.artifacts.find(({ name }) => name === "document.pdf");
const waited = await submitted(SCAN, { Prefer: "wait=45" });
const nobody = { Authorization: "Bearer nobody" };
const facts = {
  upload: [job.state, file.filename],
  wait: [waited.status, (await waited.json()).state],
  chunked: [await chunked()],
  refused: [await status(submitted(LARGE, nobody)), await status(submitted(LARGE))],
  limited: await limited(),
  events: await followed(),
  download: await download(file.url),
  idle: await idle(),
};
console.log(JSON.stringify(facts));
