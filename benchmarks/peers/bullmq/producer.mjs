// BullMQ's bulk call, 1,000 jobs at a time.

import { Queue } from "bullmq";

import { CONNECTION, JOBS, TASK, tell } from "./job.mjs";

const BULK = 1000;

const queue = new Queue("bench", { connection: CONNECTION });
await queue.waitUntilReady();
const begun = performance.now();
for (let start = 0; start < JOBS; start += BULK) {
  const length = Math.min(BULK, JOBS - start);
  await queue.addBulk(Array.from({ length }, (_, index) => ({ name: TASK, data: { number: start + index } })));
}
tell("enqueued", (performance.now() - begun) / 1000);
await queue.close();
