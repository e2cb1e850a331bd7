#!/usr/bin/env python3
"""Write what a fleet needs and costs: the tables of docs/deployment/ from the figures below.

usage: tools/capacity.py [--check]

--check writes nothing and ends with status 1 where a table is not current. Change a figure here, and run it again.
"""

import math
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

PAGES = Path(__file__).resolve().parents[1] / "docs" / "deployment"

# Measured: docs/performance.md, "Calls held": 100 to 160, by how fast the machine is that day. Seven tenths of 100, for
# cores that are slower, as virtual ones are (FastRTC took 2.1 % of a core a call there, 3.0 on another machine). The
# callers had the same two cores.
CALLS_HELD = 70  # with the embedded model on 2 cores, p95 of the latency within 200 ms and nothing dropped
# Measured: python -m tests.benchmarks.fleet
PLACEMENT_CPU_S = 0.92e-3  # of signaling, for a call that comes
ENDING_CPU_S = 0.66e-3  # of signaling, for a call that ends
NODE_CPU = 38e-6  # of a core of each signaling instance, for each node that it keeps in view
REDIS_CPU_A_COMMAND_S = 36e-6  # of Redis, reading many records with one command included
RECORD_BYTES = 185
SENT_KBIT_S = 15.2  # by a node for a call, IP headers included: results, RTCP, consent checks
# The code's rates: a node's SET and SADD every 2 s; an instance's SMEMBERS and MGET every second.
NODE_COMMANDS_S = 1.0
INSTANCE_COMMANDS_S = 2.0

# Chosen.
FILL = 0.7  # of what a node holds: the rest is for peaks, and for the calls of a node that goes
SIGNALING_FILL = 0.6  # of an instance's core
LEAST_INSTANCES = 2
CALL_S = 300.0  # the mean length of a call
RELAYED = 0.1  # share of calls that need TURN
RELAYS_A_SERVER = 1_000  # not measured

# Prices: US dollars, Google's list prices for us-central1 without discounts, as of 2025. They change.
NODE_H = 0.0845  # t2d-standard-2                   https://cloud.google.com/compute/vm-instance-pricing
ADDRESS_H = 0.005  # a public IPv4 address in use    https://cloud.google.com/vpc/network-pricing
TURN_H = 0.0168 + ADDRESS_H  # e2-small             https://cloud.google.com/compute/vm-instance-pricing
INSTANCE_H = (1 * 18e-6 + 0.5 * 2e-6) * 3_600  # 1 vCPU, 0.5 GiB, always on   https://cloud.google.com/run/pricing
ALONE_H = (
    2 * 24e-6 + 1 * 2.5e-6
) * 3_600  # 2 vCPU, 1 GiB, while it has requests   https://cloud.google.com/run/pricing
REGISTRY_H = 0.049  # 1 GB, basic tier               https://cloud.google.com/memorystore/docs/redis/pricing
SENT_GIB = ((1_024, 0.12), (9_216, 0.11), (math.inf, 0.08))  # a month, by steps   .../vpc/network-pricing
MONTH_H = 730

# Limits of Google Cloud, as documented in 2025; those of quotas can be raised by asking.
GROUP_MACHINES = 2_000  # of a regional managed instance group
NETWORK_MACHINES = 15_500  # of a VPC network
DNS_ADDRESSES = 4_000  # IPv4 addresses in one answer of 64 KiB, 16 bytes each (RFC 1035 section 4.2.2)


class Fleet(NamedTuple):
    """Resources that so many calls at once need."""

    calls: int

    @property
    def nodes(self) -> int:
        # One more than full ones, so that a rolling update has where to go.
        return math.ceil(self.calls / (CALLS_HELD * FILL)) + 1

    @property
    def placements_s(self) -> float:
        return self.calls / CALL_S

    @property
    def view_cpu(self) -> float:
        """Share of a core of each signaling instance that keeps all nodes in view."""
        return self.nodes * NODE_CPU

    @property
    def instances(self) -> int:
        work = self.placements_s * (PLACEMENT_CPU_S + ENDING_CPU_S)
        return max(LEAST_INSTANCES, math.ceil(work / (SIGNALING_FILL - self.view_cpu)))

    @property
    def redis_commands_s(self) -> float:
        return self.nodes * NODE_COMMANDS_S + self.instances * INSTANCE_COMMANDS_S

    @property
    def redis_kbytes_s(self) -> float:
        return (self.nodes / 2 + self.nodes * self.instances) * RECORD_BYTES / 1e3

    @property
    def turn_servers(self) -> int:
        return max(1, math.ceil(self.calls * RELAYED / RELAYS_A_SERVER))

    @property
    def sent_mbit_s(self) -> float:
        return self.calls * SENT_KBIT_S / 1e3

    def costs_h(self) -> dict[str, float]:
        """Dollars an hour."""
        return {
            "media nodes": self.nodes * NODE_H,
            "their addresses": self.nodes * ADDRESS_H,
            "signaling": self.instances * INSTANCE_H,
            "registry": REGISTRY_H,
            "TURN": self.turn_servers * TURN_H,
            "traffic out": self._sent_h(),
        }

    def _sent_h(self) -> float:
        left = self.sent_mbit_s * 1e6 / 8 * 3_600 * MONTH_H / 2**30
        total = 0.0
        for size, price in SENT_GIB:
            total += min(left, size) * price
            left = max(0.0, left - size)
        return total / MONTH_H


def sizing() -> str:
    fleets = [Fleet(calls) for calls in (20, 100, 1_000, 10_000)]
    rows: list[tuple[str, Callable[[Fleet], str]]] = [
        ("media nodes (t2d-standard-2)", lambda fleet: f"{fleet.nodes:,}"),
        ("signaling instances (1 vCPU)", lambda fleet: f"{fleet.instances:,}"),
        ("TURN servers (e2-small)", lambda fleet: f"{fleet.turn_servers:,}"),
        ("calls placed a second", lambda fleet: f"{fleet.placements_s:.1f}"),
        ("sent to callers, Mbit/s", lambda fleet: f"{fleet.sent_mbit_s:.1f}"),
    ]
    rows += [(f"{name}, $ an hour", partial(_cost_h, name=name)) for name in fleets[0].costs_h()]
    rows.append(("**all, $ an hour**", lambda fleet: f"**{sum(fleet.costs_h().values()):.2f}**"))
    rows.append(("all, $ an hour and thousand calls at once", lambda fleet: f"{_each(fleet, fleet.calls):.2f}"))
    rows.append(
        ("**all, $ for a thousand calls of five minutes**", lambda fleet: f"**{_each(fleet, fleet.calls * 12):.2f}**")
    )
    head = ["calls at once", *(f"{fleet.calls:,}" for fleet in fleets)]
    return table(head, [[name, *map(cell, fleets)] for name, cell in rows])


def _cost_h(fleet: Fleet, name: str) -> str:
    return f"{fleet.costs_h()[name]:.2f}"


def _each(fleet: Fleet, calls: float) -> float:
    return sum(fleet.costs_h().values()) / calls * 1_000


def alone() -> str:
    """Return what calls cost on Cloud Run alone, beside a fleet that is always there."""
    rows = []
    for calls, hours in ((1, 1), (5, 2), (20, 8), (49, 24), (100, 24), (300, 24)):
        fleet = Fleet(calls)
        instances = math.ceil(calls / (CALLS_HELD * FILL))
        sent_day = fleet.costs_h()["traffic out"] * hours
        always = sum(fleet.costs_h().values()) - fleet.costs_h()["traffic out"]
        rows.append(
            [
                f"{calls}",
                f"{hours}",
                f"{instances}",
                f"{instances} x {hours} x ${ALONE_H:.2f}",
                f"**${instances * hours * ALONE_H + sent_day:.2f}**",
                f"**${always * 24 + sent_day:.2f}**",
            ]
        )
    head = [
        "calls at once",
        "hours a day",
        "instances",
        "CPU and memory",
        "Cloud Run alone, a day",
        "a fleet, always on, a day",
    ]
    return table(head, rows)


def scale() -> str:
    fleet = Fleet(100_000)
    redis_cpu = fleet.redis_commands_s * REDIS_CPU_A_COMMAND_S
    pages = table(
        ["100,000 calls at once", ""],
        [
            ["media nodes", f"{fleet.nodes:,}, on {2 * fleet.nodes:,} cores"],
            ["calls placed, and ended, a second", f"{fleet.placements_s:.0f}"],
            ["signaling instances", f"{fleet.instances}"],
            ["of each one's core, to keep the nodes in view", f"{fleet.view_cpu:.0%}"],
            ["Redis commands a second", f"{fleet.redis_commands_s:,.0f}, and none for a call"],
            ["read from Redis", f"{fleet.redis_kbytes_s / 1e3:.1f} MB/s"],
            ["kept in Redis", f"{fleet.nodes * RECORD_BYTES / 1e6:.1f} MB"],
            ["sent to callers", f"{fleet.sent_mbit_s / 1e3:.2f} Gbit/s"],
            ["TURN servers", f"{fleet.turn_servers}"],
            ["cost an hour", f"${sum(fleet.costs_h().values()):,.0f}, of it {_largest(fleet)}"],
            ["cost of a thousand calls of five minutes", f"${_each(fleet, fleet.calls * 12):.2f}"],
        ],
    )
    limits = [
        ("addresses in one DNS answer, where nodes are found by a headless service", fleet.nodes, DNS_ADDRESSES),
        ("machines of one regional instance group", fleet.nodes, GROUP_MACHINES),
        ("a signaling instance's core, to keep nodes in view", fleet.view_cpu, SIGNALING_FILL),
        ("machines of one network", fleet.nodes, NETWORK_MACHINES),
        ("one core of Redis", redis_cpu, 1.0),
    ]
    limits.sort(key=lambda limit: limit[2] / limit[1])
    return (
        pages
        + "\n"
        + table(
            ["what breaks, the first first", "needed", "there is", "breaks at, calls"],
            [[name, figure(need), figure(there), f"{fleet.calls * there / need:,.0f}"] for name, need, there in limits],
        )
    )


def _largest(fleet: Fleet) -> str:
    costs = fleet.costs_h()
    name = max(costs, key=lambda each: costs[each])
    return f"{costs[name] / sum(costs.values()):.0%} {name}"


def figure(value: float) -> str:
    return f"{value:,.0f}" if value > 10 else f"{value:.2f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["--check"]):
        raise SystemExit("usage: tools/capacity.py [--check]")
    for name, make in (("sizing", sizing), ("scale", scale), ("cloud-run-alone", alone)):
        page = PAGES / f"{name}.md"
        text = page.read_text()
        begin, end = "<!-- tools/capacity.py writes this -->\n", "<!-- /tools/capacity.py -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        current = f"{before}{begin}\n{make()}\n{end}{after}"
        if arguments and current != text:
            raise SystemExit(f"docs/deployment/{name}.md is not current: run tools/capacity.py")
        page.write_text(current)


if __name__ == "__main__":
    main(sys.argv[1:])
