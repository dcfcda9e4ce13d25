"""Reading one image from an address: https only, within limits of size and time."""

import http.client
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from kseg.data.files import read_image

_SILENCE = 15.0  # seconds, for connecting and between two parts
_TOTAL = 300.0
_LARGEST = 256 << 20
_PART = 1 << 18
_OWN_HOSTS = ("localhost", "127.0.0.1", "::1")


def read_from_web(address: str, channels: int) -> np.ndarray:
    """Fetches and reads an image.

    Args:
        address: https://...; http:// is for this computer alone.
        channels: As for `kseg.data.files.read_image`.

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
            return np.array(read_image(path, channels))
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), address)) from None


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
    except urllib.error.HTTPError as error:
        raise ValueError(f"{address} cannot be fetched: the server says {error.code}.") from None
    except TimeoutError:
        raise _silent(address) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _silent(address) from None
        if isinstance(error.reason, ssl.SSLError):
            raise ValueError(f"{address} cannot be fetched: {error.reason}.") from None
        raise ValueError(
            f"{address} cannot be fetched: there is no network, or no such server "
            f"({error.reason}). Save the image and name its file."
        ) from None
    except (http.client.HTTPException, OSError) as error:
        raise ValueError(f"{address} cannot be fetched: {error or 'it ended early'}.") from None
    if missing:
        raise ValueError(f"{address} cannot be fetched: it ended {missing:,} bytes early.")
    return bytes(content)


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


def _silent(address: str) -> ValueError:
    return ValueError(
        f"{address} cannot be fetched: the server was silent for {_SILENCE:.0f} seconds."
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where the first request might have gone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Refuses a step down to http or to another kind of address."""
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
