"""What is asked of an object store: by obstore of buckets, by drivers of fsspec of all others.

Tries are bounded. The reasons that an error gets are words of ours: a store's own name the whole
address, signature and all.
"""

from __future__ import annotations

import functools
import importlib.util
import mimetypes
import os
import re
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from crackseg.errors import ConfigError, StoreError
from crackseg.names import require

CONNECT_S, ANSWER_S = 10.0, 60.0
RETRIES = 5
BUCKETS = ("s3", "gs")  # of obstore
_NOBODY = ("169.254.169.254", "metadata.google")  # whom clouds ask where there are no credentials


_REGION = "redirect without LOCATION"
_PASSING = (408, 429)  # refusals that pass
_AGAIN = "run again, it goes on"


class Client(Protocol):
    """What is asked of a store; keys are relative to the bucket, or whole addresses.

    Questions raise FileNotFoundError where there is no such object, or one of ``faults``.
    """

    ahead: dict[str, Future[bytes]]  # what was asked for before its time
    has_failed: bool
    faults: tuple[type[Exception], ...]  # that mean: it was not done

    def get(self, key: str) -> bytes: ...
    def has(self, key: str) -> bool: ...
    def put(self, key: str, data: bytes | Path) -> None: ...
    def delete(self, key: str) -> None: ...
    def listed(self, key: str) -> tuple[list[str], list[str]]: ...
    def walked(self, key: str) -> Iterable[str]: ...
    def reason(self, error: Exception) -> str: ...
    def advice(self, error: Exception) -> str: ...


class Bucket:
    """A bucket, asked by obstore."""

    def __init__(self, store: Any) -> None:
        from obstore.exceptions import BaseError

        self._store, self.has_failed = store, False
        self.ahead: dict[str, Future[bytes]] = {}
        self.faults: tuple[type[Exception], ...] = (BaseError, OSError, ValueError)

    def get(self, key: str) -> bytes:
        import obstore

        return bytes(obstore.get(self._store, key).bytes())

    def has(self, key: str) -> bool:
        import obstore

        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def put(self, key: str, data: bytes | Path) -> None:
        import obstore

        kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
        obstore.put(self._store, key, data, attributes={"Content-Type": kind})

    def delete(self, key: str) -> None:
        import obstore

        obstore.delete(self._store, key)

    def listed(self, key: str) -> tuple[list[str], list[str]]:
        import obstore

        found = obstore.list_with_delimiter(self._store, key or None)
        folders = [prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]
        return folders, [each["path"].rpartition("/")[2] for each in found["objects"]]

    def walked(self, key: str) -> Iterable[str]:
        import obstore

        for part in obstore.list(self._store, key or None):
            yield from (each["path"] for each in part)

    def reason(self, error: Exception) -> str:
        return reason_of(error, RETRIES, ANSWER_S)

    def advice(self, error: Exception) -> str:
        return advice_for(error)


class Other:
    """A file system of fsspec."""

    def __init__(self, system: Any) -> None:
        self._system, self.has_failed = system, False
        self.ahead: dict[str, Future[bytes]] = {}
        self.faults: tuple[type[Exception], ...] = (Exception,)  # each driver has its own

    def get(self, key: str) -> bytes:
        return bytes(self._system.cat_file(key))

    def has(self, key: str) -> bool:
        return bool(self._system.isfile(key))

    def put(self, key: str, data: bytes | Path) -> None:
        folder, _, name = key.rpartition("/")
        self._system.makedirs(folder, exist_ok=True)
        part = f"{folder}/.crackseg-{os.getpid()}-{name}"  # a disk behind it would show a half file
        self._system.pipe_file(part, data if isinstance(data, bytes) else data.read_bytes())
        self._system.mv(part, key)

    def delete(self, key: str) -> None:
        self._system.rm_file(key)

    def listed(self, key: str) -> tuple[list[str], list[str]]:
        self._system.invalidate_cache()
        found: tuple[list[str], list[str]] = [], []
        with suppress(FileNotFoundError):
            for each in self._system.ls(key, detail=True):
                name = each["name"].rstrip("/").rpartition("/")[2]
                found[each["type"] != "directory"].append(name)
        return found

    def walked(self, key: str) -> Iterable[str]:
        root = self._system._strip_protocol(key)
        return [key + name[len(root) :] for name in self._system.find(key)]

    def reason(self, error: Exception) -> str:
        return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__

    def advice(self, error: Exception) -> str:
        if isinstance(error, ConnectionError | TimeoutError):
            return _AGAIN
        return f"check the address and the credentials; where they are right, {_AGAIN}"


@functools.cache
def bucket_client(scheme: str, bucket: str) -> Client:
    """Return what asks a bucket; see ``open_bucket``."""
    return Bucket(open_bucket(scheme, bucket, client_settings(RETRIES, CONNECT_S, ANSWER_S)))


def knows(scheme: str) -> bool:
    """Return whether a name is that of a kind of store, or of ``file``."""
    if scheme in (*BUCKETS, "file"):
        return True
    if importlib.util.find_spec("fsspec") is None:
        return False
    from fsspec.registry import known_implementations, registry

    return scheme in known_implementations or scheme in registry


@functools.cache
def other_client(scheme: str, host: str) -> Client:
    """Return what asks by a driver of fsspec.

    Args:
        scheme: name of the driver.
        host: first part of the address, with the user's name where there is one; some drivers ask
            for it, others take it for a folder.

    Raises:
        ConfigError: there is none of the name.
        MissingExtra: fsspec is not installed.
        StoreError: the driver reaches no server.
    """
    require("fsspec", extra="remote")
    import fsspec

    try:
        driver = fsspec.get_filesystem_class(scheme)
        return Other(driver(**driver._get_kwargs_from_urls(f"{scheme}://{host}/")))
    except (ValueError, ImportError, TypeError) as error:
        text = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"results must go to a folder or an object store, got an address of {scheme} ({text}); "
            "s3://bucket/prefix and gs://bucket/prefix fit."
        ) from error
    except Exception as error:  # each driver has its own
        text = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise StoreError(
            f"`{scheme}://{host}` cannot be reached: {text}; check the address and the credentials."
        ) from error


def client_settings(retries: int, connect_s: float, answer_s: float) -> dict[str, Any]:
    """Return how often and how long obstore asks a server."""
    short = timedelta(milliseconds=200)
    return {
        "client_options": {
            "connect_timeout": f"{connect_s:g}s",
            "timeout": f"{answer_s:g}s",
            "allow_http": True,
        },
        "retry_config": {
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=(retries + 1) * answer_s),
            "backoff": {"init_backoff": short, "max_backoff": 25 * short, "base": 2},
        },
    }


def open_bucket(scheme: str, bucket: str, settings: dict[str, Any]) -> Any:
    """Return obstore's store of a bucket.

    Raises:
        MissingExtra: obstore is not installed.
        StoreError: a setting of the environment does not fit.
    """
    require("obstore", extra="remote")
    from obstore.exceptions import BaseError
    from obstore.store import GCSStore, S3Store

    try:
        return {"s3": S3Store, "gs": GCSStore}[scheme](bucket, **settings)
    except (BaseError, ValueError) as error:
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise StoreError(f"`{scheme}://{bucket}` cannot be used: {text}.") from error


def reason_of(error: BaseException, retries: int, answer_s: float) -> str:
    """Return why a server did not do what it was asked: its own words hold whole addresses."""
    from obstore import exceptions

    text = str(error)
    if any(name in text for name in _NOBODY):
        return "the environment holds no credentials"
    if isinstance(error, exceptions.PermissionDeniedError):
        return "its server refuses (403); credentials lack or do not suffice"
    if isinstance(error, exceptions.UnauthenticatedError):
        return "its server refuses (401); credentials lack or are old"
    if _REGION in text:
        return "its server sends elsewhere, as for a wrong region"
    status = _status_of(text)
    if 400 <= status < 500 and status not in _PASSING:
        return f"its server answers {status}"  # which is not asked again
    why = f"its server answers {status}" if status else "its server does not answer"
    if "kind: Timeout" in text:
        why = f"its server does not answer within {answer_s:g} s"
    return f"{why}, tried {retries + 1} times"


def advice_for(error: BaseException) -> str:
    """Return what to do where a bucket was not read or written: what passes is tried again."""
    from obstore import exceptions

    text = str(error)
    status = _status_of(text)
    denied = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    if any(name in text for name in _NOBODY):
        return "set them, for s3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and run again"
    if isinstance(error, denied) or status in (401, 403):
        return "check the name of the bucket and the credentials of the environment"
    if _REGION in text:
        return "check AWS_REGION"
    if status == 404:
        return "check the name of the bucket"
    if 400 <= status < 500 and status not in _PASSING:
        return "check the address and the settings of the environment (region, credentials)"
    return _AGAIN


def _status_of(text: str) -> int:
    found = re.search(r"status code: (\d{3})|status: (\d{3})", text)
    return int(found[1] or found[2]) if found else 0
