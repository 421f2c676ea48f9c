// What a caller writes with the generated types: it compiles with --strict, or the types are of no use.
import type { components, paths } from "./api";

type Job = components["schemas"]["Job"];
type Letter = components["schemas"]["MailSubmission"];
type Refused = paths["/v1/mail"]["post"]["responses"][422]["content"]["application/problem+json"];

export async function send(url: string, key: string, letter: Letter): Promise<Job> {
  const answer = await fetch(`${url}/v1/mail`, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify(letter),
  });
  if (answer.status === 422) {
    const problem = (await answer.json()) as Refused;
    throw new Error(problem.errors?.map((error) => `${error.field}: ${error.message}`).join(" ") ?? problem.detail);
  }
  return (await answer.json()) as Job;
}

export async function text(url: string, key: string, job: Job): Promise<string | null> {
  const artifact = job.artifacts.find(({ name }) => name === "text.txt");
  if (artifact === undefined) return null;
  const answer = await fetch(new URL(artifact.url, url), { headers: { Authorization: `Bearer ${key}` } });
  return answer.text();
}

export const letter: Letter = {
  from: "Harbour <office@example.com>",
  subject: "Ahoy {{ name }}",
  text: "Your cargo is in, {{ name }}.",
  recipients: [{ to: "ada@example.com", variables: { name: "Ada" } }],
};
