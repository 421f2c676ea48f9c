// The case `events` of table.py with eventsource, which is given the key by a fetch of its own.
import { openAsBlob } from "node:fs";
import { EventSource } from "eventsource";

const { ARGOSY_URL: url, ARGOSY_KEY: key, SCAN } = process.env;
const bearer = { Authorization: `Bearer ${key}` };
const body = new FormData();
body.append("file", await openAsBlob(SCAN), "scan.pdf");
const job = await (await fetch(`${url}/v1/ocr`, { method: "POST", body, headers: bearer })).json();

// The first stream breaks after its first event. The library then comes back by itself, until it is answered 204.
const alive = setInterval(() => {}, 1000); // its own timer keeps no program going
let isFirst = true;
function broken(answer) {
  let text = "";
  const cut = new TransformStream({
    transform(piece, control) {
      control.enqueue(piece);
      text += new TextDecoder().decode(piece);
      if (/^data: .*\n\n/m.test(text)) control.terminate();
    },
  });
  return new Response(answer.body.pipeThrough(cut), answer);
}
const source = new EventSource(`${url}/v1/jobs/${job.id}/events`, {
  fetch: async (input, init) => {
    const answer = await fetch(input, { ...init, headers: { ...init.headers, ...bearer } });
    if (!isFirst) return answer;
    isFirst = false;
    return broken(answer);
  },
});
const seen = [];
source.addEventListener("state", (event) => seen.push(event));
const end = await new Promise((resolve) => source.addEventListener("error", ({ code }) => code && resolve(code)));
const told = seen.map(({ lastEventId, data }) => lastEventId + data);
console.log(JSON.stringify({ events: [new Set(told).size < told.length, JSON.parse(seen.at(-1).data).state, end] }));
source.close();
clearInterval(alive);
