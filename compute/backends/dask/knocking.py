"""Before a Client connects: whether a scheduler answers, over TLS where asked, and whether others may listen."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ipaddress
import socket
import warnings
from typing import Any

from kernels.texts import visible

CERTIFICATES = "distributed.Security(tls_ca_file=…, tls_client_cert=…, tls_client_key=…)"
# What may answer beside another program, by the scheme of the address.
OTHERS = {
    "tcp": "a scheduler that takes TLS alone, Dask('tls://…', security=…)",
    "tls": "a scheduler without TLS, at tcp://…, or with another certificate",
}


class Unfit(ValueError):
    """A cluster that cannot be used as it is; the text says why, and the remedy. No lane has begun."""


def knock(address: str, security: Any, seconds: float) -> None:
    """OSError where no scheduler answers at an address: a Client that fails to connect leaves its event loop behind.

    seconds: to wait for it. Unfit where the address and `security` do not go together.
    """
    from distributed import Security
    from distributed.comm import connect

    scheme, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    if scheme not in OTHERS or not port.isdecimal():
        return
    if security is None or isinstance(security, dict):
        security = Security(**(security or {}))
    if not isinstance(security, Security):
        return
    given = _given(address, security)
    # Dask would try again and again where nobody listens.
    socket.create_connection((host.strip("[]"), int(port)), seconds).close()

    async def connected() -> None:
        (await connect(address, timeout=seconds, **given)).abort()

    with concurrent.futures.ThreadPoolExecutor(1) as thread:  # a notebook's own has an event loop that runs
        connecting = thread.submit(asyncio.run, asyncio.wait_for(connected(), seconds))
        try:
            connecting.result()
        except concurrent.futures.TimeoutError:
            raise
        except Exception as error:  # dask reads what another program answers as lengths and such
            reason = f"what answers there is another program, or {OTHERS[scheme]}"
            raise ConnectionError(f"{error}; {reason}" if isinstance(error, OSError) else reason) from error


def _given(address: str, security: Any) -> Any:
    """What dask connects with, from `security` and its own configuration."""
    try:
        given = security.get_connection_args("client")
    except OSError as error:
        raise Unfit(f"the certificates for {visible(address)} cannot be read ({error}); check the paths") from error
    if address.startswith("tls:") and given.get("ssl_context") is None:
        raise Unfit(
            f"{visible(address)} needs certificates, and none are given; say"
            f" Dask({address!r}, security={CERTIFICATES}), or have them in dask's configuration (docs/cluster.md)"
        )
    if address.startswith("tcp:") and given.get("require_encryption"):
        raise Unfit(
            f"{visible(address)} is a plain connection, and encryption is required; write tls:// in place of tcp://"
        )
    return given


def warn_of_plain(address: str) -> None:
    """A RuntimeWarning for a connection that others can read, and on which they can have a worker run anything."""
    scheme, _, place = address.partition("://")
    host = place.rpartition(":")[0].strip("[]")
    if scheme not in ("tcp", "ws") or _is_loopback(host):
        return
    warnings.warn(
        f"{visible(address)} is a plain connection: whoever is on that network can read the data and have the workers"
        " run code; use TLS, Dask('tls://…', security=distributed.Security(…)) (docs/cluster.md)",
        RuntimeWarning,
        stacklevel=2,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
