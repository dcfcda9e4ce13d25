"""Reading one image from an address: https only, within limits of size and time."""

import http.client
import ssl
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from kseg.data.files import decode_image, turn

_SILENCE = 15.0  # seconds, for connecting and between two parts
_TOTAL = 300.0
_LARGEST = 256 << 20
_PART = 1 << 18
_OWN_HOSTS = ("localhost", "127.0.0.1", "::1")


def read_from_web(address: str, channels: int, bits: int | None = None) -> np.ndarray:
    """Fetches and reads an image.

    Args:
        address: https://...; http:// is for this computer alone.
        channels: As for `kseg.data.files.decode_image`.
        bits: Likewise.

    Returns:
        The image, uint8 (H, W, channels).

    Raises:
        ValueError: If it cannot be fetched, is too large or slow, or is no image.
    """
    content = _fetch(address)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            decoded = decode_image(path, channels, bits)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), address)) from None
    for remark in decoded.remarks:
        warnings.warn(f"{address}: {remark}.", stacklevel=2)
    return turn(decoded.pixels, decoded.tag)


def _fetch(address: str) -> bytes:
    _check(address)
    opener = urllib.request.build_opener(_Redirects)
    request = urllib.request.Request(address, headers={"User-Agent": "kseg"})
    end = time.monotonic() + _TOTAL
    content = bytearray()
    try:
        with opener.open(request, timeout=_SILENCE) as answer:
            while part := answer.read1(_PART):
                content += part
                if len(content) > _LARGEST:
                    raise ValueError(f"{address} is larger than {_LARGEST >> 20} MB.")
                if time.monotonic() > end:
                    raise ValueError(f"{address} takes longer than {_TOTAL:.0f} seconds.")
            missing = answer.length
    except (http.client.HTTPException, OSError) as error:  # those of urllib are OSErrors
        raise ValueError(f"{address} cannot be fetched: {_reason(error)}.") from None
    if missing:
        raise ValueError(f"{address} cannot be fetched: it ended {missing:,} bytes early.")
    return bytes(content)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code}"
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"the server was silent for {_SILENCE:.0f} seconds"
    if isinstance(cause, ssl.SSLError) or not isinstance(error, urllib.error.URLError):
        return str(cause) or "it ended early"
    return f"there is no network, or no such server ({cause}); save the image and name its file"


def _check(address: str) -> None:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError(f"{address} is no address; one is https://example.org/image.jpg.")
    if parts.scheme.lower() != "https" and host not in _OWN_HOSTS:
        raise ValueError(f"{address} is not fetched: only https:// keeps what comes unchanged.")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where the first request might have gone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Refuses a step down to http or to another kind of address."""
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
