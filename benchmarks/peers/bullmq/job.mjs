// The JavaScript half of job.py: what a job does, and how a run is told and timed.

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

// Leave a figure for the harness, whole or not at all.
export function tell(name, seconds) {
  const unfinished = join(FOLDER, `${name}.unfinished`);
  writeFileSync(unfinished, String(seconds));
  renameSync(unfinished, join(FOLDER, name));
}

// The job that does nothing: the first and the last of a run take the time.
export async function noop() {
  started += 1;
  if (started === 1) first = performance.now();
  if (started === JOBS) tell("span", (performance.now() - first) / 1000);
}

// A job of 20 ms that leaves its id on a line of its own at its end.
export async function effect(number) {
  await sleep(20);
  writeSync(runs, `${number}\n`);
}
