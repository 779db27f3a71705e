"""One POST to a webhook: signed, to allowed hosts only, never redirected; what goes wrong is a DeliveryError.

The signature is HMAC-SHA256 over the time in seconds, a full stop and the body, with the shared secret:
``X-Fusar-Signature: sha256=<hex>`` beside ``X-Fusar-Timestamp``. A receiver computes it anew, compares in
constant time, and refuses old times: then nobody can send it a copy.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from urllib.parse import urlsplit

import httpx

from ..config import AlertSettings
from ..errors import DeliveryError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PORTS = {"https": 443, "http": 80}


def post(url: str, event_id: str, body: bytes, sent: datetime, settings: AlertSettings) -> None:
    """Deliver a message; any answer of 200 to 299 means that the receiver has it.

    Raises:
        DeliveryError: the host is not allowed, does not answer in time, or answers otherwise.
    """
    check(url, settings)
    if settings.webhook_secret is None:
        raise DeliveryError("no secret to sign with: set FUSAR_ALERTS__WEBHOOK_SECRET")
    timestamp = str(int(sent.timestamp()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "fusar",
        "X-Fusar-Event-Id": event_id,
        "X-Fusar-Timestamp": timestamp,
        "X-Fusar-Signature": sign(settings.webhook_secret.get_secret_value(), timestamp, body),
    }
    try:
        with httpx.stream(
            "POST", url, content=body, headers=headers, timeout=settings.webhook_timeout_s, trust_env=False
        ) as response:
            status = response.status_code  # the answer's body is not read
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DeliveryError(f"{host_of(url)}: {type(error).__name__}") from None  # its text may hold the URL
    if not 200 <= status < 300:
        raise DeliveryError(f"{host_of(url)} answers {status}, expected 200 to 299")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a body sent at a time."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


def check(url: str, settings: AlertSettings) -> None:
    """Refuse a host that the settings do not name, and plain HTTP beyond this machine.

    Raises:
        DeliveryError: it is refused.
    """
    parts = urlsplit(url)
    allowed = [host.strip().lower() for host in settings.webhook_hosts.split(",") if host.strip()]
    host = (parts.hostname or "").lower()
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if f"{host}:{port}" not in allowed and not (host in allowed and port == _PORTS.get(parts.scheme)):
        raise DeliveryError(f"{host_of(url)} is not among FUSAR_ALERTS__WEBHOOK_HOSTS")
    if parts.scheme != "https" and host not in _LOOPBACK:
        raise DeliveryError(f"{host_of(url)}: expected https; plain http is for this machine alone")


def host_of(url: str) -> str:
    """Return a URL's host and port: what may be logged of it."""
    parts = urlsplit(url)
    return parts.netloc.rsplit("@", 1)[-1]
