// The cases of table.py with axios: one array of facts for each, as JSON.
import { openAsBlob, createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import axios from "axios";

const { ARGOSY_URL, ARGOSY_KEY, SCAN, LARGE } = process.env;
const http = axios.create({
  baseURL: ARGOSY_URL,
  headers: { Authorization: `Bearer ${ARGOSY_KEY}` },
  validateStatus: () => true,
});

async function submitted(path = SCAN, headers = {}) {
  const form = new FormData();
  form.append("file", await openAsBlob(path), "Schein für März.pdf");
  return http.post("/v1/ocr", form, { headers });
}

async function ended(location) {
  for (;;) {
    const { data } = await http.get(location);
    if (data.finished_at) return data;
    await sleep(200);
  }
}

async function* body() {
  yield '--b\r\nContent-Disposition: form-data; name="file"; filename="scan.pdf"\r\n\r\n';
  yield* createReadStream(SCAN);
  yield "\r\n--b--\r\n";
}

async function events(job, last, most = 1000) {
  const seen = [];
  const headers = last ? { "Last-Event-ID": last } : {};
  const answer = await http.get(`/v1/jobs/${job}/events`, { headers, responseType: "stream" });
  if (answer.status === 204) return 204;
  let unread = "";
  for await (const piece of answer.data.setEncoding("utf8")) {
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
  const job = (await submitted()).data.id;
  const [first] = await events(job, "", 1);
  const seen = await events(job, first.id);
  const last = seen.at(-1);
  return [seen.some(({ data }) => data === first.data), JSON.parse(last.data).state, await events(job, last.id)];
}

async function limited() {
  let answer;
  do answer = await http.get("/v1/jobs");
  while (answer.status === 200);
  await sleep(answer.headers["retry-after"] * 1000);
  return [answer.status, (await http.get("/v1/jobs")).status];
}

async function idle() {
  const before = (await http.get("/v1/limits")).status;
  await sleep(7000);
  return [before, (await http.post("/v1/jobs/cancel", { filter: { queue: "ocr" }, dry_run: true })).status];
}

async function download(file) {
  const text = { responseType: "text" };
  const part = await http.get(file, { ...text, headers: { Range: "bytes=0-4" } });
  const unchanged = await http.get(file, { headers: { "If-None-Match": part.headers.etag } });
  return [part.status, part.data, (await http.get(file, text)).data.slice(0, 4), unchanged.status];
}

const job = await ended((await submitted()).headers.location);
const file = job.artifacts.find(({ name }) => name === "document.pdf");
const waited = await submitted(SCAN, { Prefer: "wait=45" });
const multipart = { headers: { "Content-Type": "multipart/form-data; boundary=b" } };
const chunked = await http.post("/v1/ocr", Readable.from(body()), multipart);
const nobody = { Authorization: "Bearer nobody" };
const facts = {
  upload: [job.state, file.filename],
  wait: [waited.status, waited.data.state],
  chunked: [chunked.status],
  refused: [(await submitted(LARGE, nobody)).status, (await submitted(LARGE)).status],
  limited: await limited(),
  events: await followed(),
  download: await download(file.url),
  idle: await idle(),
};
console.log(JSON.stringify(facts));
