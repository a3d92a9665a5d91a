"""A prefix of an object store stands for a folder of results: a path that is listed, read, put.

``s3://`` and ``gs://`` are asked by obstore, with credentials of the environment; any other address
by what fsspec knows under its name (``memory://``, ``sftp://`` ...). A store has no folders and no
renaming: a folder is there as long as an object below it is, and an object appears whole or not at
all. Who needs several objects to appear together writes the one last that tells of the others.
"""

from __future__ import annotations

import io
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from crackseg.errors import ConfigError, StoreError
from crackseg.store_clients import BUCKETS, Client, bucket_client, knows, other_client

S = TypeVar("S")
T = TypeVar("T")
AT_ONCE = 8  # objects that are put or read side by side: an answer takes some 50 ms
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])", re.IGNORECASE)
_BEGIN = re.compile(r"([a-z][a-z0-9+.-]+):(?!\s)(/*)", re.IGNORECASE)
_NO_STORES = ("http", "https", "data", "zip", "tar")

if TYPE_CHECKING:
    _Base = Path
else:
    _Base = type(Path())


class StorePath(_Base):
    """A prefix or an object of a store, from ``store_path``."""

    _is_folder: bool | None = None  # as a listing said

    def __str__(self) -> str:
        return _SCHEME.sub(r"\1://", super().__str__(), count=1)

    def __reduce__(self) -> tuple[Any, ...]:
        return store_path, (str(self),)

    def iterdir(self) -> Iterator[StorePath]:  # type: ignore[override]
        """Yield what lies directly below, folders first.

        Raises:
            StoreError: as all that asks the store.
        """
        client, key = self._client_and_key()
        try:
            found = _asked(self, client, lambda: client.listed(key))
        except FileNotFoundError as error:
            raise StoreError(f"`{_root(self)}` does not exist; make it first.") from error
        for is_folder, names in zip((True, False), found, strict=True):
            for name in names:
                child = self / name
                child._is_folder = is_folder
                yield child

    def is_dir(self) -> bool:
        """Return whether an object lies below."""
        if self._is_folder is None:
            return any(True for _ in self.iterdir())
        return self._is_folder

    def is_file(self) -> bool:
        """Return whether it is an object."""
        client, key = self._client_and_key()
        return _asked(self, client, lambda: client.has(key))

    def exists(self, **unused: Any) -> bool:
        """Return whether it is an object, or one lies below."""
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        """Return False."""
        return False

    def resolve(self, strict: bool = False) -> StorePath:
        """Return itself."""
        return self

    def absolute(self) -> StorePath:
        """Return itself."""
        return self

    def mkdir(self, *unused: Any, **also_unused: Any) -> None:
        """Do nothing: a folder is there as soon as something is put there."""

    def stat(self, **unused: Any) -> os.stat_result:
        """Return zeros; once something failed, only where the store answers again.

        Raises:
            ConnectionError: it does not.
        """
        client, key = self._client_and_key()
        if client.has_failed:
            try:
                _asked(self, client, lambda: client.listed(key))
            except StoreError as error:
                raise ConnectionError(str(error)) from error
            client.has_failed = False
        return os.stat_result((0o40777, *[0] * 9))

    def open(self, mode: str = "r", *unused: Any, **how: Any) -> IO[Any]:  # type: ignore[override]
        """Open an object for reading; all of it is read at once."""
        if mode not in ("r", "rb"):
            raise StoreError(f"`{self}` is an object of a store, which is put whole.")
        raw = io.BytesIO(self.read_bytes())
        return raw if mode == "rb" else io.TextIOWrapper(raw, encoding=how.get("encoding"))

    def read_bytes(self) -> bytes:
        """Return an object.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the store does not answer, or refuses.
        """
        client, key = self._client_and_key()
        coming = client.ahead.get(key)
        return _asked(self, client, lambda: coming.result() if coming else client.get(key))

    def write_bytes(self, data: bytes | Path) -> int:  # type: ignore[override]
        """Put an object, or the bytes of a file, in the place of what is there."""
        client, key = self._client_and_key()
        client.ahead.pop(key, None)
        try:
            _asked(self, client, lambda: client.put(key, data))
        except FileNotFoundError as error:  # of the store: the bucket, since the rest is made
            client.has_failed = True
            text = f"`{self}` cannot be written: `{_root(self)}` does not exist; make it first."
            raise StoreError(text) from error
        return 0

    def write_text(self, data: str, *unused: Any, **also_unused: Any) -> int:
        """Put an object of text, UTF-8."""
        return self.write_bytes(data.encode())

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete an object; none is no error."""
        client, key = self._client_and_key()
        with suppress(FileNotFoundError):
            _asked(self, client, lambda: client.delete(key))

    def put_files(self, files: Iterable[Path]) -> None:
        """Put files below, side by side, each under its name."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda file: (self / file.name).write_bytes(file), files))

    def below(self) -> Iterator[str]:
        """Yield the names of all objects below, relative to this, in order."""
        client, key = self._client_and_key()
        names = _asked(self, client, lambda: sorted(client.walked(key)))
        yield from (name[len(key) :].lstrip("/") for name in names)

    def _client_and_key(self) -> tuple[Client, str]:
        scheme, _, rest = str(self).partition("://")
        if scheme in BUCKETS:
            bucket, _, key = rest.partition("/")
            return bucket_client(scheme, bucket), key
        return other_client(scheme, rest.partition("/")[0]), str(self)


def is_store(text: str | Path) -> bool:
    """Return whether a text is an address, and no folder or drive of this machine."""
    return _SCHEME.match(str(text)) is not None


def refuse_half_address(text: str | Path) -> None:
    """Raise where a text begins as an address and goes on as none: it would name a folder.

    Args:
        text: as it was written, or as a path, which has a slash where an address has two.

    Raises:
        ConfigError: nothing stands behind the scheme, or another number of slashes.
    """
    found = _BEGIN.match(str(text))
    if found is None:
        return
    scheme, behind = found[1].lower(), str(text)[found.end() :]
    whole = (
        bool(behind and found[2]) if isinstance(text, Path) else bool(behind) and found[2] == "//"
    )
    if not whole and (knows(scheme) or scheme in _NO_STORES or found[2] == "//"):
        raise ConfigError(
            f"`{text}` must be an address as {scheme}://bucket/prefix; a folder of this name is "
            "written with its whole path."
        )


def file_path(address: str | Path) -> Path:
    """Return what an address of ``file`` stands for; ``%20`` is a blank in it.

    Raises:
        ConfigError: it names another machine, or no file or folder.
    """
    behind = str(address).partition(":")[2]
    host, _, path = behind.removeprefix("//").partition("/")
    if not behind.startswith("//"):
        host, path = "", behind.lstrip("/").removeprefix("localhost/")
    from urllib.request import url2pathname  # brings http and ssl, which the help does without

    name = url2pathname(f"/{path}")
    if host.lower() not in ("", "localhost") or not path.strip("/") or "\0" in name:
        raise ConfigError(
            f"`{address}` must be an address of this machine, as file:///folder/name; of another "
            "machine, give the folder under which its disk is seen here."
        )
    return Path(name)


def store_path(address: str | Path) -> Path:
    """Return the path of an address; a plain one where it is of ``file``.

    Raises:
        ConfigError: nothing can be put there, or the address holds a password.
        MissingExtra: what asks the store is not installed.
    """
    found = _SCHEME.match(str(address))
    if found is None:
        raise ConfigError(f"`{address}` must be an address, as s3://bucket/prefix.")
    scheme, rest = found[1].lower(), str(address)[found.end() :]
    if scheme == "file":
        return file_path(address)
    if scheme in _NO_STORES:
        raise ConfigError(
            f"results must go to a folder or an object store, got an address of {scheme}; "
            "s3://bucket/prefix and gs://bucket/prefix fit."
        )
    user, at, _ = rest.partition("/")[0].rpartition("@")
    if at and (":" in user or scheme in BUCKETS):  # of a bucket, nobody is named
        raise ConfigError(
            f"an address must hold no password, got one of {scheme}; let the environment hold the "
            "credentials."
        )
    path = StorePath(f"{scheme}:/{rest}")
    path._client_and_key()
    return path


def as_folder(place: str | Path) -> Path | None:
    """Return a folder of a disk or a bucket as a path; None for addresses of web servers."""
    if str(place).lower().startswith("file:/"):
        return file_path(place)
    if not is_store(place):
        return Path(place)
    return store_path(place) if str(place).partition(":")[0].lower() in BUCKETS else None


def refuse_silent(place: Path) -> None:
    """Raise where a store does not answer any more; of a folder, nothing is asked.

    Raises:
        StoreError: it does not.
    """
    if isinstance(place, StorePath):
        client, key = place._client_and_key()
        _asked(place, client, lambda: client.listed(key))


def side_by_side(act: Callable[[S], T], items: Iterable[S], place: Path) -> Iterator[T]:
    """Yield what an act makes of each item, in order; of several at once where a store is asked.

    Args:
        act: reads below ``place``.
        items: what it is called with.
        place: a folder, or a prefix of a store.
    """
    if not isinstance(place, StorePath):
        yield from map(act, items)
        return
    with ThreadPoolExecutor(4 * AT_ONCE) as pool:
        yield from pool.map(act, items)


def read_ahead(
    items: Iterable[S], wanted: Callable[[S], Iterable[Path]], place: Path
) -> Iterator[S]:
    """Yield items; what will be read for those that follow is on its way already.

    Args:
        items: a few are taken before they are needed.
        wanted: gives the files that whoever gets an item will read, until the next item.
        place: a folder, where nothing is done before its time, or a prefix of a store.
    """
    if not isinstance(place, StorePath):
        yield from items
        return
    client, _ = place._client_and_key()
    waiting: deque[tuple[S, list[str]]] = deque()

    def turn() -> Iterator[S]:
        item, keys = waiting.popleft()
        yield item
        for key in keys:
            client.ahead.pop(key, None)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for item in items:
            keys = [path._client_and_key()[1] for path in map(StorePath, wanted(item))]
            client.ahead |= {key: pool.submit(client.get, key) for key in keys}
            waiting.append((item, keys))
            if len(waiting) > 4 * AT_ONCE:
                yield from turn()
        while waiting:
            yield from turn()


def _asked(path: StorePath, client: Client, ask: Callable[[], T]) -> T:
    """Return what a store answers.

    Raises:
        FileNotFoundError: an object is not there.
        StoreError: anything else that went wrong.
    """
    try:
        return ask()
    except FileNotFoundError:
        raise
    except client.faults as error:
        client.has_failed = True
        text = (
            f"`{path}` cannot be read or written: {client.reason(error)}; {client.advice(error)}."
        )
        raise StoreError(text) from error


def _root(path: StorePath) -> str:
    scheme, _, rest = str(path).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
