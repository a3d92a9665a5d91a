"""An address becomes a path that is opened like any other; its bytes come in ranges, none to disk.

``https://``, ``http://``, ``s3://`` and ``gs://``; the extra ``remote`` does the asking. What is
read is pinned to what the server said of it first: that a file changes meanwhile is an error, as is
all else that a server may do. Tries are bounded. Credentials come from the environment or with a
signed address, whose signature stands in no message, report or file name.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from crackseg.errors import ConfigError, ImageError, StoreError
from crackseg.names import require
from crackseg.store_clients import BUCKETS, client_settings, open_bucket, reason_of

T = TypeVar("T")
BLOCK_BYTES = 2**20  # asked for at once: an answer takes some 50 ms however little it holds
BLOCKS_KEPT = 64
WHOLE_BYTES = 64 * 2**20  # smaller files may be read whole: photographs are
CONNECT_S, ANSWER_S = 10.0, 60.0
RETRIES = 3
_ADDRESS = re.compile(r"(https?|s3|gs)://(?=[^/\s])", re.IGNORECASE)

if TYPE_CHECKING:
    _Base = Path
else:
    _Base = type(Path())


def is_address(text: str) -> bool:
    """Return whether a text is the address of a file elsewhere."""
    return _ADDRESS.match(text) is not None


class RemotePath(_Base):
    """The path of a file behind an address, from ``remote_path``; it shows no signature."""

    _query = ""  # of the address: a signature, most likely
    _pinned: _Object | None = None

    def __str__(self) -> str:
        return re.sub(r"^(https?|s3|gs):/(?=[^/])", r"\1://", super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        return remote_path, (str(self) + (f"?{self._query}" if self._query else ""),)

    def pinned(self) -> RemotePath:
        """Return the path of the file as it is now: once it changes, its bytes are an error.

        Raises:
            ImageError: the file is not there, may not be read, or the server does not answer.
            MissingExtra: obstore is not installed.
        """
        path = remote_path(str(self))
        path._query = self._query
        path._pinned = _Object(path)
        return path

    def open(self, mode: str = "r", *unused: Any, **also_unused: Any) -> IO[Any]:  # type: ignore[override]
        """Open the file; ``rb`` alone."""
        if mode != "rb":
            raise ImageError(f"`{self}` can only be read.")
        return _Stream(self._object())  # type: ignore[return-value]

    def stat(self, **unused: Any) -> os.stat_result:
        """Return the size; all else is 0."""
        return os.stat_result((0o100444, 0, 0, 0, 0, 0, self._object().size, 0, 0, 0))

    def is_file(self) -> bool:
        """Return True: whether it is one, is told by opening it."""
        return True

    def is_dir(self) -> bool:
        """Return False."""
        return False

    def exists(self, **unused: Any) -> bool:
        """Return True: whether it does, is told by opening it."""
        return True

    def resolve(self, strict: bool = False) -> RemotePath:
        """Return itself."""
        return self

    def absolute(self) -> RemotePath:
        """Return itself."""
        return self

    def identity(self) -> str | None:
        """Return what tells a large file from others without its bytes, or None: read them.

        64 hexadecimal digits, of address, size, ETag and date.
        """
        known = self._object()
        if known.size <= WHOLE_BYTES or not (known.tag or known.date):
            return None
        text = f"{self}\n{known.size}\n{known.tag}\n{known.date}"
        return hashlib.sha256(text.encode()).hexdigest()

    def refuse_failed(self) -> None:
        """Raise again what a decoder may have taken for the end of a file.

        Raises:
            ImageError: some bytes could not be read.
        """
        if self._pinned is not None and self._pinned.failure is not None:
            raise self._pinned.failure

    def _object(self) -> _Object:
        return self._pinned or _Object(self)


def remote_path(address: str) -> RemotePath:
    """Return the path of an address.

    Raises:
        ConfigError: the address holds a password.
    """
    scheme, _, rest = address.partition("://")
    query = ""
    if scheme.lower() not in BUCKETS:
        rest, _, query = rest.partition("#")[0].partition("?")
    host, _, name = rest.partition("/")
    if "@" in host:
        raise ConfigError(
            f"an address must hold no password, got one for `{host.rpartition('@')[2]}`; sign the "
            "address, or let the environment hold the credentials."
        )
    if not name.strip("/"):
        raise ConfigError(
            f"`{scheme}://{host}` must be the address of a file, as {scheme}://a/b.tif."
        )
    path = RemotePath(f"{scheme.lower()}:/{host}/{name}")
    path._query = query
    return path


class _Object:
    """A file of a store as it was when it was first asked for, and the blocks of it read last."""

    def __init__(self, path: RemotePath) -> None:
        require("obstore", extra="remote")
        self.path = path
        self.failure: ImageError | None = None
        self._store, self._key = _open_store(path)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        import obstore

        facts = self._asked(lambda: obstore.head(self._store, self._key))
        self.size: int = facts["size"]
        self.tag: str | None = facts["e_tag"]
        self.date = facts["last_modified"]

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` up to ``stop`` within the file."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        wanted = range(start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES + 1)
        lacking = [number for number in wanted if number not in self._blocks]
        if len(wanted) > BLOCKS_KEPT:
            return self._fetch(start, stop)
        if lacking:
            first = lacking[0] * BLOCK_BYTES
            data = self._fetch(first, min((lacking[-1] + 1) * BLOCK_BYTES, self.size))
            for number in range(lacking[0], lacking[-1] + 1):
                at = number * BLOCK_BYTES - first
                self._blocks[number] = data[at : at + BLOCK_BYTES]
        for number in wanted:
            self._blocks.move_to_end(number)
        joined = b"".join(self._blocks[number] for number in wanted)
        while len(self._blocks) > BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        at = start - wanted[0] * BLOCK_BYTES
        return joined[at : at + stop - start]

    def _fetch(self, start: int, stop: int) -> bytes:
        import obstore
        from obstore.exceptions import NotSupportedError

        options: dict[str, Any] = {"range": (start, stop)}
        if self.tag and not self.tag.startswith("W/"):
            options["if_match"] = self.tag

        def ask() -> bytes:
            try:
                answer = obstore.get(self._store, self._key, options=options)
            except NotSupportedError:
                if self.size > WHOLE_BYTES:
                    raise
                answer = obstore.get(self._store, self._key)
                self._refuse_changed(answer.meta)
                return bytes(answer.bytes())[start:stop]
            self._refuse_changed(answer.meta)
            return bytes(answer.bytes())

        data = self._asked(ask)
        if len(data) != stop - start:
            text = f"`{self.path}` is cut: {stop - start} bytes asked, {len(data)} came; run again."
            raise self._failed(ImageError(text))
        return data

    def _refuse_changed(self, facts: Any) -> None:
        same = (facts["size"], facts["e_tag"] or self.tag) == (self.size, self.tag)
        if not same or (not self.tag and facts["last_modified"] != self.date):
            raise self._failed(_changed(self.path))

    def _asked(self, ask: Callable[[], T]) -> T:
        """Return what a server answers."""
        from obstore.exceptions import BaseError

        if self.failure is not None:
            raise self.failure
        try:
            return ask()
        except ImageError:
            raise
        except (BaseError, OSError, ValueError) as error:
            raise self._failed(_explained(self.path, error)) from error

    def _failed(self, failure: ImageError) -> ImageError:
        self.failure = failure
        return failure


class _Stream(io.RawIOBase):
    """The bytes of a file behind an address, as of an open file."""

    def __init__(self, source: _Object) -> None:
        super().__init__()
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        stop = self._source.size if size is None or size < 0 else self._at + size
        data = self._source.read(self._at, stop)
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()


def _open_store(path: RemotePath) -> tuple[Any, str]:
    """Return the store that holds a file, and the file's name in it."""
    from obstore.exceptions import BaseError
    from obstore.store import HTTPStore

    scheme, _, rest = str(path).partition("://")
    host, _, name = rest.partition("/")
    how = client_settings(RETRIES, CONNECT_S, ANSWER_S)
    try:
        if scheme in BUCKETS:
            return open_bucket(scheme, host, how), name
        query = f"?{path._query}" if path._query else ""
        return HTTPStore.from_url(f"{scheme}://{host}/{query}", **how), unquote(name)
    except StoreError as error:
        raise ImageError(str(error)) from error
    except (BaseError, ValueError) as error:
        raise _explained(path, error) from error


def _changed(path: RemotePath) -> ImageError:
    return ImageError(f"`{path}` changed while it was read; run again.")


def _explained(path: RemotePath, error: BaseException) -> ImageError:
    """Return an error in our words: a store's own names the whole address, signature and all."""
    from obstore import exceptions

    if isinstance(error, exceptions.PreconditionError):
        return _changed(path)
    reasons = (
        (FileNotFoundError, "does not exist"),
        (exceptions.PermissionDeniedError, "may not be read (403); credentials or signature lack"),
        (exceptions.UnauthenticatedError, "may not be read (401); credentials or signature lack"),
        (
            exceptions.NotSupportedError,
            "is too large to be read whole and its server answers no ranges; download it first",
        ),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return ImageError(f"`{path}` {reason}.")
    return ImageError(f"`{path}` cannot be read: {reason_of(error, RETRIES, ANSWER_S)}.")
