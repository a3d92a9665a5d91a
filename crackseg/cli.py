"""Where the program begins and ends: Ctrl-C, errors as one sentence, exit codes.

0 all done, 1 some images failed (the others are complete) or the disk did, 2 wrong usage or a file
that cannot be used, 130 stopped by the user. The commands stand in ``commands``, which is imported
late: so Ctrl-C has its sentence from the first moment.
"""

from __future__ import annotations

import _thread
import codecs
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from crackseg.errors import CracksegError

_RETRY_S = 0.05
_STOPPED = "crackseg: stopped; the same command begins anew, or goes on where something is done."


def main() -> None:
    """Run the command line; an error of this package is one sentence and exit code 2."""
    _open_streams()
    _print_anywhere()
    with _stoppable():
        try:
            _run()
        except (KeyboardInterrupt, SystemExit) as stop:
            if not _is_unsaid_stop(stop):
                raise
            _say(_STOPPED)
            sys.exit(130)


def _run() -> None:
    try:
        from crackseg.commands import app

        app()
    except CracksegError as error:
        _say(f"crackseg: {error}")
        sys.exit(2)
    except BrokenPipeError:  # whoever read has gone: `crackseg ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (FileExistsError, NotADirectoryError) as error:
        where = f"`{error.filename}`" if error.filename else "a path"
        _say(
            f"crackseg: {where} needs a folder where a file stands; move the file away, or choose "
            "another place."
        )
        sys.exit(1)
    except OSError as error:
        where = f"`{error.filename}`: " if error.filename else ""
        _say(f"crackseg: {where}{error.strerror or error}.")
        sys.exit(1)
    except MemoryError:
        _say("crackseg: there is not enough memory.")
        sys.exit(1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _is_unsaid_stop(stop: BaseException) -> bool:
    """Return whether a stop comes of a Ctrl-C of which no command has told."""
    cause: BaseException | None = stop
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return cause is not None and (not isinstance(stop, SystemExit) or stop.code in (1, 130))


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let Ctrl-C wait until an import is through.

    Within one it may be swallowed, or end the process with a trace of the library's own: many
    packages load compiled code that knows nothing of it. A second Ctrl-C waits for nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    again = threading.Event()
    waiting: list[threading.Timer] = []

    def retry() -> None:
        again.set()
        _thread.interrupt_main()

    def stop(number: int, frame: FrameType | None) -> None:
        pressed = not again.is_set()
        again.clear()
        if not _is_import(frame):
            raise KeyboardInterrupt
        if pressed and waiting:
            with suppress(OSError):
                os.write(2, f"{_STOPPED}\n".encode())
            os._exit(130)
        waiting[:] = [threading.Timer(_RETRY_S, retry)]
        waiting[0].daemon = True
        waiting[0].start()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        for timer in waiting:  # what ended by itself meanwhile is not stopped any more
            timer.cancel()


def _is_import(frame: FrameType | None) -> bool:
    while frame is not None and "importlib._bootstrap" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None


class _Unstopping(io.FileIO):
    """A stream whose text is lost where it cannot be written: a full disk, a reader that left."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            return super().write(data) or 0  # None where it would block: tried again by its buffer
        return memoryview(data).nbytes


def _open_streams() -> None:
    """Let no message stop the work: what cannot be written on the error stream is passed over.

    Results on the standard output stay errors where they are lost, once the work is done. A stream
    that was closed leads nowhere, else the next file that is opened has its number, and gets what
    libraries print.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8")
    errors = sys.stderr
    own = errors is not None and errors is sys.__stderr__
    buffer: Any = errors.buffer if own else None
    if errors is None or type(getattr(buffer, "raw", buffer)) is io.FileIO:
        raw = _Unstopping(os.devnull, "w") if errors is None else _Unstopping(2, "w", closefd=False)
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=getattr(errors, "encoding", "utf-8"),
            line_buffering=True,
            write_through=True,
        )


_PLAIN = {"±": "+-", "–": "-", "…": "...", "²": "2", "×": "x", "°": " deg"}


def _print_anywhere() -> None:
    """Let every terminal show what is printed: a character it does not know is spelt out."""

    def spell(error: UnicodeError) -> tuple[str | bytes, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        unknown = error.object[error.start]
        return _PLAIN.get(unknown, unknown.encode("ascii", "backslashreplace").decode()), (
            error.start + 1
        )

    codecs.register_error("crackseg", spell)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="crackseg")


if __name__ == "__main__":
    main()
