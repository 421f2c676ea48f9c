// BullMQ's worker. Tuned: finished jobs are not kept.

import { Worker } from "bullmq";

import { CONCURRENCY, CONNECTION, TUNED, effect, noop } from "./job.mjs";

const tasks = { noop, effect };
const tuning = TUNED ? { removeOnComplete: { count: 0 } } : {};

const worker = new Worker("bench", (job) => tasks[job.name](job.data.number), {
  connection: CONNECTION,
  concurrency: CONCURRENCY,
  ...tuning,
});
worker.on("error", console.error);
