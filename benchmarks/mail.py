"""make bench-mail: one letter to 10,000 recipients through the fleet, and bare aiosmtplib over 10 connections.

Both run in turn in one run. The server for both is postfix's smtp-sink, or aiosmtpd if that is not installed. The
bare client gets messages that are already composed. The fleet renders a template for each recipient, and writes
the recipient's state to disk before and after delivery. The fleet is timed from the POST to the end of the job.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvloop
from aiosmtplib import SMTP

from benchmarks.ocr.fleet import Fleet
from deploy.local.test_servers import free_port

CONNECTIONS = 10
LETTER = {
    "from": "Harbour <office@argosy.test>",
    "subject": "Ahoy {{ name }}",
    "text": "Dear {{ name }},\n\nyour cargo of {{ tons }} t is in; high water is at six.\n\nThe harbour office\n",
}


@asynccontextmanager
async def sink() -> AsyncIterator[int]:
    """Run a server that accepts all mail, in a process of its own. Yields the port."""
    port = free_port()
    program = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")
    if program is None:
        print("smtp-sink (Debian: postfix) is not installed: aiosmtpd stands in for it")
        command = [
            sys.executable,
            "-m",
            "aiosmtpd",
            "-n",
            "-l",
            f"127.0.0.1:{port}",
            "-c",
            "aiosmtpd.handlers.Sink",
        ]
    else:
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        command = [program, *user, f"127.0.0.1:{port}", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert time.monotonic() < deadline, "the sink did not start"
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield port
    finally:
        process.kill()
        process.wait()


async def bare(port: int, count: int) -> float:
    """Return the messages per second of aiosmtplib."""
    message = (
        "From: Harbour <office@argosy.test>\r\nTo: ada@example.test\r\nSubject: Ahoy Ada\r\n"
        "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nMessage-ID: <0123456789abcdef0123456789abcdef@argosy.test>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        "Dear Ada,\r\n\r\nyour cargo of 12 t is in; high water is at six.\r\n\r\nThe harbour office\r\n"
    )
    numbers = iter(range(count))

    async def send() -> None:
        async with SMTP(hostname="127.0.0.1", port=port, start_tls=False) as smtp:
            for number in numbers:
                await smtp.sendmail("office@argosy.test", [f"r{number}@example.test"], message)

    begun = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
    return count / (time.perf_counter() - begun)


async def fleet(client: httpx.AsyncClient, count: int) -> float:
    """Return the messages per second of the fleet. Checks that every recipient is recorded as sent."""
    recipients = [{"to": f"r{n}@example.test", "variables": {"name": f"Nr {n}", "tons": n}} for n in range(count)]
    begun = time.perf_counter()
    answer = await client.post("/v1/mail", json=LETTER | {"recipients": recipients}, headers={"Prefer": "wait=60"})
    answer.raise_for_status()
    job: dict[str, Any] = answer.json()
    while not job["finished_at"]:
        await asyncio.sleep(0.1)
        job = (await client.get(answer.headers["location"])).json()
    took = time.perf_counter() - begun
    assert job["result"] == {"recipients": count, "sent": count}, job
    return count / took


async def main(count: int, rounds: int, workers: int) -> None:
    """Run all rounds, and print the ratios."""
    with tempfile.TemporaryDirectory() as name:
        async with sink() as port:
            os.environ |= {
                "MAIL_RELAYS": f"smtp://127.0.0.1:{port}?tls=off",
                "LIMITS": "api=off, burst=off, ip=off",
            }
            harbour = Fleet(Path(name) / "run", workers=1, slots=2)
            async with harbour.up() as client:
                if workers > 1:
                    await asyncio.to_thread(harbour.command, "scale", "mailer", str(workers))
                await fleet(client, 1000)  # the first one pays for what the rest shares
                ratios = []
                for _ in range(rounds):
                    ours, theirs = await fleet(client, count), await bare(port, count)
                    ratios.append(ours / theirs)
                    print(f"fleet {ours:6.0f}/s   bare aiosmtplib {theirs:6.0f}/s   {ratios[-1]:.2f}", flush=True)
                print(f"{count} messages, median of {rounds}: fleet ÷ bare = {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.messages, arguments.rounds, arguments.workers))
