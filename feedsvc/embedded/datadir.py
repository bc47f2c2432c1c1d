"""The data folder: made when missing, used by one `up` at a time, with the signing key."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from feedsvc.errors import FeedsvcError
from feedsvc.setting_fields import SHORTEST_SECRET

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

DATABASE_FILE = "feedsvc.db"
SECRET_FILE = "jwt-secret"  # noqa: S105 -- the name of a file

_SECRET_BYTES = 48


class DataDirUnusable(FeedsvcError):
    """The folder cannot be made, or cannot be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"the data folder {path} cannot be used ({error.strerror}); "
            "set FEEDSVC_DATA_DIR to a folder that can be written"
        )


class SecretUnusable(FeedsvcError):
    """The file with the folder's signing key cannot be read, or is no key."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(
            f"the secret in {path} {fault}; restore the file, set FEEDSVC_JWT_SECRET, "
            "or delete the file for a new secret, which makes every token invalid"
        )


class DataDirTaken(FeedsvcError):
    """Another `up` uses the folder."""

    def __init__(self, path: Path, pid: str) -> None:
        super().__init__(
            f"the data folder {path} is in use by process {pid}; "
            "stop that process or set FEEDSVC_DATA_DIR to another folder"
        )


def prepare(path: Path) -> Path:
    """Return the absolute path of the data folder, and make the folder if it is missing.

    A new folder is readable by its owner only. Other files in the folder stay untouched.
    Raises `DataDirUnusable`.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / f".write-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataDirUnusable(path, error) from None
    return path.resolve()


def secret(folder: Path) -> str:
    """Return the folder's signing key, and generate it at the first use.

    The file is readable by its owner only. Two processes that start together get one key. Raises
    `SecretUnusable`.
    """
    path = folder / SECRET_FILE
    try:
        if not path.exists():
            _generate(path)
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        fault = getattr(error, "strerror", None) or "it is no text"
        raise SecretUnusable(path, f"cannot be read ({fault})") from None
    if len(text) < SHORTEST_SECRET:
        raise SecretUnusable(path, f"has fewer than {SHORTEST_SECRET} characters")
    return text


def _generate(path: Path) -> None:
    draft = path.with_name(f".jwt-secret-{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(_SECRET_BYTES))
    with suppress(FileExistsError):  # another process was faster: its key is the key
        os.link(draft, path)
    draft.unlink()


def lock(path: Path, *, wait: bool) -> TextIO:
    """Lock a file for this process alone, and write the process id into it.

    Closing the returned file releases the lock; the kernel does so when the process ends. Raises
    `BlockingIOError` if another process has the lock and `wait` is false.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        raise
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def lock_for_up(folder: Path) -> TextIO:
    """Lock the data folder for the one `up` that may use it. Raises `DataDirTaken`."""
    path = folder / "up.lock"
    try:
        return lock(path, wait=False)
    except BlockingIOError:
        raise DataDirTaken(folder, path.read_text() or "?") from None
