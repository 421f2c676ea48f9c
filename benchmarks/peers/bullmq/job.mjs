// job.py in JavaScript: the jobs and the timing of a run.

import { openSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const FOLDER = process.env.BENCH_FOLDER;
export const TASK = process.env.BENCH_TASK;
export const TUNED = TASK === "noop";
export const JOBS = Number(process.env.BENCH_JOBS);
export const CONCURRENCY = Number(process.env.BENCH_CONCURRENCY);
export const CONNECTION = { url: process.env.BENCH_URL, maxRetriesPerRequest: null };

const runs = openSync(join(FOLDER, "runs"), "a");
let started = 0;
let first = 0;

// Report a figure to the harness, by an atomic rename.
export function tell(name, seconds) {
  const unfinished = join(FOLDER, `${name}.unfinished`);
  writeFileSync(unfinished, String(seconds));
  renameSync(unfinished, join(FOLDER, name));
}

// A job that does nothing. The first and the last job of a run measure the time.
export async function noop() {
  started += 1;
  if (started === 1) first = performance.now();
  if (started === JOBS) tell("span", (performance.now() - first) / 1000);
}

// A job of 20 ms that writes a line with its id at its end.
export async function effect(number) {
  await sleep(20);
  writeSync(runs, `${number}\n`);
}
