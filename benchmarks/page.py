"""Writes the documentation page about speed: ``docs/benchmarks.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.report import markdown, promise_cells, scenario_cells, version_cells
from benchmarks.roster import IN_FLIGHT, ROSTER, SLOW_IN_FLIGHT
from benchmarks.servers import LATENCY
from benchmarks.workload import REVIEW_LENGTH, TEMPLATE, completion

if TYPE_CHECKING:
    from benchmarks.report import Report

BUSY = "Other programs used {:.1f} cores meanwhile: the figures cannot be relied on."


def page(report: Report) -> str:
    """Return the page as Markdown."""
    machine, micro = report.machine, report.micro
    busy = f"\n{BUSY.format(machine.others)}" if machine.busy else ""
    notes = "\n".join(f"- {one.title}: {one.note}" for one in ROSTER if one.note)
    return f"""\
# How fast it is

Measured on {machine.day} on {machine.cores} cores ({machine.processor}, {machine.system}) with
Python {machine.python} and nginx {machine.nginx}. Written by `python -m benchmarks`.{busy}

## A server that answers at once

{IN_FLIGHT} requests in flight. This is what a client costs: the server takes next to no time, so what is slow here is
slow by itself.

{markdown(scenario_cells(report.prompt))}

## A server that answers after {LATENCY} second

tablenodes and the libcurl loop have {SLOW_IN_FLIGHT:,} requests in flight, so at most {SLOW_IN_FLIGHT:,} rows/s are
possible. Each of the others has about as many as it is fastest with; more made it slower. tablenodes starts from a
limit of 1,024 open files, the usual one.

{markdown(scenario_cells(report.slow))}

## Small costs

| | |
| --- | ---: |
| `import tablenodes` | {micro.import_seconds:.3f} s |
| the schema gate (`tn.validate`), a valid body | {micro.gate_microseconds:.1f} µs |
| `node.check`: cell, placeholder, body and gate, a row | {micro.check_microseconds:.1f} µs |
| this disk's sync of 40 KB, which each commit of a journal waits for | {micro.sync_milliseconds:.2f} ms |
| `.answers` of 100,000 stored rows, four fields each | {micro.answers_seconds:.1f} s |
| `.usage` of them, with what each cost | {micro.usage_seconds:.1f} s |
| `.choices` of them | {micro.choices_seconds:.1f} s |

## What we promise

These are bounds that we set ourselves; one that this measurement missed says by how much.

{markdown(promise_cells(report.prompt, report.slow, micro))}

## What is measured

- Everyone answers the same question about texts of {REVIEW_LENGTH} characters: `{TEMPLATE}`
- The server is an nginx with one worker on the same machine. It sends everyone the same chat completion of
  {len(completion())} bytes; the second one holds each answer back for {LATENCY} s. Client and server share the cores.
- Each contestant runs in a process of its own, the others in a virtual environment of their own with the releases
  below, as their documentation shows: one client, the number of requests in flight set, all else as it comes.
- The clock runs from a list of texts in memory to a list of answers in memory, after a warm-up of up to 500 rows.
  Imports and making a client don't count. For tablenodes that is a DataFrame, placeholders, the schema gate, the
  requests, the retry and accounting machinery, and reading the answers' texts. Every answer is checked.
- CPU time is that of the contestant's process with all its threads; the server's is not in it.
- The libcurl loop is the limit for any client on libcurl: it sends the same bytes each time and reads no answer. It
  runs on the same libcurl as tablenodes.
- Slower contestants get fewer rows, so that each takes some seconds. Contestants take turns; "x" columns are medians of
  the ratios within a turn, since a machine is not equally fast all the time. "rows" says how many, and in how many
  turns if more than one.
{notes}

## What is not measured

A real API: there, the network and the model take nearly all the time, and rate limits the rest. What remains of these
figures there is how many requests you can have in flight, and what is left of your CPU. Also not: streaming, TLS,
memory.

## Releases

{markdown(version_cells(report.prompt, report.slow), figures=False)}

## Do it again

<!-- not run: takes minutes, and installs the others -->
```sh
pip install -e .
python -m benchmarks            # five minutes, and the first time some more to install the others
python -m benchmarks --quick    # a minute: tablenodes, the openai SDK, the libcurl loop
```

It needs nginx (on Debian and Ubuntu `sudo apt-get install nginx-light`) and keeps its virtual environments in
`.benchmarks/`.
"""
