"""Hosts on this machine, as network namespaces on a bridge; their links can be slowed. Linux, root, iproute2.

`with Network(3) as network`: three hosts, and this machine's own end of the bridge, where the caller is. A host has a
name, an address, and nothing in /dev/shm of anybody else. Whatever was made is removed at the end; what a killed
program has left is removed by the next one.

A link is slowed by tc: netem delays, and limits the rate. A kernel without netem (CONFIG_NET_SCH_NETEM) is told; there
the cables are TAP devices, between which a relay, a program of ours, carries the frames with the delay, and tbf limits
the rate. Both delay half of the round trip in each direction.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import heapq
import itertools
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

PREFIX = "nfold"  # of namespaces and devices, before the number of the process whose they are
NET = "10.213.86"
MTU = 9000  # jumbo frames: each costs the relay a read and a write
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


class Link(NamedTuple):
    """How a host is connected. round_trip: seconds to this machine and back; rate: bits a second, 0 for no limit."""

    name: str
    round_trip: float = 0.0
    rate: int = 0


def refused() -> str | None:
    """Why there can be no hosts here, in a line, or None."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid():
        return "only root may make network namespaces"
    if missing := [name for name in ("ip", "tc", "unshare") if not shutil.which(name)]:
        return f"{', '.join(missing)}: not installed (Debian's iproute2 and util-linux)"
    tried = f"{PREFIX}-{os.getpid()}-try"
    for words in (("netns", "add", tried), ("link", "add", f"nf{os.getpid()}t", "type", "bridge")):
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            _remove(os.getpid())
            return f"ip {' '.join(words[:2])} is not permitted: {done.stderr.strip()}"
    _remove(os.getpid())
    return None if has_netem() or os.path.exists("/dev/net/tun") else "the kernel has neither netem nor TAP devices"


@functools.cache
def has_netem() -> bool:
    """Whether tc can delay."""
    device = f"nf{os.getpid()}n"
    try:
        _ip("link", "add", device, "type", "bridge")
        return not subprocess.run(["tc", "qdisc", "add", "dev", device, "root", "netem", "delay", "1ms"],
                                  capture_output=True).returncode  # fmt: skip
    finally:
        subprocess.run(["ip", "link", "del", device], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _remove(pid: int) -> None:
    """Remove what the process of this number has made, as far as it is there."""
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else ():
        if name.startswith(f"{PREFIX}-{pid}-"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
    for device in os.listdir("/sys/class/net"):
        if device.startswith(f"nf{pid}"):
            subprocess.run(["ip", "link", "del", device], capture_output=True)


def _remove_of_the_dead() -> None:
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else ():
        owner = name.split("-")[1] if name.startswith(f"{PREFIX}-") else ""
        if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            _remove(int(owner))


class Network:
    """See above. hosts: how many."""

    def __init__(self, hosts: int) -> None:
        self._pid = os.getpid()
        self.names = [f"{PREFIX}-{self._pid}-{k}" for k in range(hosts)]
        self.addresses = [f"{NET}.{k + 2}" for k in range(hosts)]
        self.address = f"{NET}.1"
        self._bridge = f"nf{self._pid}b"
        self._relay: subprocess.Popen[str] | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Network:
        _remove_of_the_dead()
        self._stack.callback(_remove, self._pid)
        try:
            self._make()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def _make(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        pairs = [(f"nf{self._pid}o{k}", f"nf{self._pid}i{k}") for k in range(len(self.names))]
        if has_netem():
            for outside, inside in pairs:
                _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        else:
            self._start_relay(pairs)
        for name, address, (outside, inside) in zip(self.names, self.addresses, pairs, strict=True):
            _ip("netns", "add", name)
            _ip("link", "set", outside, "mtu", str(MTU), "master", self._bridge, "up")
            _ip("link", "set", inside, "netns", name)
            _ip("-n", name, "link", "set", inside, "name", "eth0", "mtu", str(MTU), "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "set", self._bridge, "mtu", str(MTU), "up")
        self._pairs = pairs

    def _start_relay(self, pairs: Sequence[tuple[str, str]]) -> None:
        words = [sys.executable, __file__, *itertools.chain.from_iterable(pairs)]
        self._relay = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._stack.callback(self._end_relay, self._relay)
        assert self._relay.stdout is not None
        if self._relay.stdout.readline() != "ready\n":
            raise OSError("the relay between TAP devices has not started")

    @staticmethod
    def _end_relay(relay: subprocess.Popen[str]) -> None:
        relay.kill()
        relay.wait()
        for pipe in (relay.stdin, relay.stdout):
            assert pipe is not None
            pipe.close()

    def on(self, host: int) -> list[str]:
        """What a command line begins with that is to run on a host: its network, its name, a /dev/shm of its own."""
        mounts = 'hostname "$1"; mount -t tmpfs tmpfs /dev/shm; shift; exec "$@"'
        inside = ["unshare", "--uts", "--ipc", "--mount", "sh", "-ec", mounts, "sh", self.names[host]]
        return ["ip", "netns", "exec", self.names[host], *inside]

    def slow(self, link: Link) -> None:
        """Have all hosts connected so, from now on."""
        if self._relay is not None:
            assert self._relay.stdin is not None
            print(link.round_trip / 2, file=self._relay.stdin, flush=True)
        for name, (outside, _) in zip(self.names, self._pairs, strict=True):
            for device, of in ((outside, ()), ("eth0", ("-n", name))):
                subprocess.run(["tc", *of, "qdisc", "del", "dev", device, "root"], capture_output=True)
                if words := self._discipline(link):
                    command = ["tc", *of, "qdisc", "add", "dev", device, "root", *words]
                    subprocess.run(command, check=True, capture_output=True, text=True)

    def _discipline(self, link: Link) -> list[str]:
        if has_netem():
            delay = ["delay", f"{link.round_trip / 2 * 1e6:.0f}us"] if link.round_trip else []
            rate = ["rate", f"{link.rate}bit"] if link.rate else []
            return ["netem", *delay, *rate, "limit", "100000"] if delay or rate else []
        return ["tbf", "rate", f"{link.rate}bit", "burst", "64kb", "latency", "200ms"] if link.rate else []


def round_trip(address: str, port: int, times: int = 15) -> float:
    """Seconds, the median, until a connection to a host stands: one packet there and one back."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        socket.create_connection((address, port), 60).close()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[times // 2]


def relay(names: Sequence[str]) -> None:
    """Carry frames between TAP devices, of which each two are a cable. A line on stdin: seconds in one direction."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    ends = [_tap(name) for name in names]
    other = {end: ends[k ^ 1] for k, end in enumerate(ends)}
    print("ready", flush=True)
    delay, number = 0.0, itertools.count()
    under_way: list[tuple[float, int, int, bytes]] = []
    while True:
        wait = max(0.0, under_way[0][0] - time.perf_counter()) if under_way else None
        readable, _, _ = select.select([0, *ends], [], [], wait)
        now = time.perf_counter()
        for end in readable:
            if end == 0:
                line = sys.stdin.readline()
                if not line:
                    return
                delay = float(line)
                continue
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame = os.read(end, 2**16)
                    heapq.heappush(under_way, (now + delay, next(number), other[end], frame))
        now = time.perf_counter()
        while under_way and under_way[0][0] <= now:
            _, _, end, frame = heapq.heappop(under_way)
            with contextlib.suppress(OSError):  # its queue is full, or it is down: a frame may be lost
                os.write(end, frame)


def _tap(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return end


if __name__ == "__main__":
    relay(sys.argv[1:])
