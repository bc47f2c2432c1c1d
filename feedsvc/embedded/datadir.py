"""The data folder: made when it is missing, held by one `up` at a time, with the key that tokens are signed with."""

from __future__ import annotations

import fcntl
import os
import secrets
from typing import TYPE_CHECKING, Self

from feedsvc.errors import FeedsvcError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_SECRET_BYTES = 48


class DataDirUnusable(FeedsvcError):
    """The folder cannot be made, or not be written."""

    def __init__(self, path: Path, why: OSError) -> None:
        super().__init__(
            f"the data folder {path} cannot be used ({why.strerror}); set FEEDSVC_DATA_DIR to a folder that can be written"
        )


class DataDirTaken(FeedsvcError):
    """Another process holds the folder."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"the data folder {path} is in use by process {holder}; stop that one or set FEEDSVC_DATA_DIR to another folder"
        )


def prepare(path: Path) -> Path:
    """The folder's absolute path; made, for its owner alone, if it is not there. Other files in it are left alone."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / f".write-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataDirUnusable(path, error) from None
    return path.resolve()


def secret(folder: Path) -> str:
    """The folder's signing key, made at its first use and readable by its owner only. Two processes agree on one."""
    path = folder / "jwt-secret"
    if not path.exists():
        draft = folder / f".jwt-secret-{secrets.token_hex(4)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(_SECRET_BYTES))
        try:
            os.link(draft, path)  # fails if another process was faster: its key is the key
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()


class Lock:
    """An exclusive hold on a file; given up when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        """Not held yet."""
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Hold the file; False if another process does and `wait` is false."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor
        return True

    def holder(self) -> str:
        """The process that holds it, as it has written itself down."""
        return self._path.read_text() or "?"

    def release(self) -> None:
        """Let it go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        if self._descriptor is None:
            self.acquire(wait=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def hold_for_up(folder: Path) -> Lock:
    """The one hold that an `up` has on its folder. Raises `DataDirTaken`."""
    lock = Lock(folder / "up.lock")
    if not lock.acquire():
        raise DataDirTaken(folder, lock.holder())
    return lock
