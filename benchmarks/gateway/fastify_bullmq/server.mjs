// Fastify + BullMQ: a validated body, `queue.add`, 202.

import { Queue } from "bullmq";
import Fastify from "fastify";

const address = new URL(process.env.BENCH_URL);
const connection = { host: address.hostname, port: Number(address.port), password: address.password };
const queue = new Queue("bench", { connection });
const app = Fastify();
const body = {
  type: "object",
  required: ["number"],
  properties: { number: { type: "integer" }, note: { type: "string" } },
};

app.post("/work", { schema: { body } }, async (request, reply) => {
  const job = await queue.add("work", request.body);
  reply.code(202);
  return { id: job.id };
});

await queue.waitUntilReady();
await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1", backlog: 4096 });
