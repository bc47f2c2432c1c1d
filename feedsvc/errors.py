"""The errors of the domain. Each error carries its data, and its message names the next step.

`feedsvc.api.problems` turns them into RFC 9457 answers, `feedsvc.cli` into one line and an exit
code.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class FeedsvcError(Exception):
    """A request that the service refuses or cannot fulfil. The message is meant for the caller.

    `status` is the HTTP status of the answer.
    """

    status = 500

    @property
    def lines(self) -> list[str]:
        """Return the message for an operator, with one line for each fault."""
        return [_one_line(str(self))]


class BadSettings(FeedsvcError):
    """Settings have values that cannot be used. The message has one line for each setting.

    `messages` maps the name of a setting to its messages.
    """

    def __init__(self, messages: dict[str, list[str]]) -> None:
        self.messages = messages
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> list[str]:
        """Return a line for each setting."""
        return [
            _one_line(f"FEEDSVC_{name.upper()}: {' '.join(texts)}")
            for name, texts in sorted(self.messages.items())
        ]


class NotFound(FeedsvcError):
    """The object does not exist, or is hidden from the caller."""

    status = 404

    def __init__(self, kind: str, ident: object) -> None:
        super().__init__(f"There is no {kind} {ident}.")


class Forbidden(FeedsvcError):
    """The caller may not do this."""

    status = 403


class Conflict(FeedsvcError):
    """The request is in conflict with another one, or with the state of the service."""

    status = 409


class BeingDeleted(Conflict):
    """The account is being deleted, so it takes no change."""

    def __init__(self, account: int) -> None:
        super().__init__(f"Account {account} is being deleted. Try again when that is done.")


class Refused(Conflict):
    """Guardrails forbid this change. `broken` lists each broken limit with its numbers."""

    def __init__(self, broken: list[dict[str, Any]]) -> None:
        self.broken = broken
        reasons = "; ".join(each["detail"] for each in broken)
        super().__init__(
            f"The guardrails refuse this change: {reasons}. "
            "Change less, or force it and give the reason."
        )


class StaleVersion(FeedsvcError):
    """`If-Match` names a version that is no longer the current one."""

    status = 412

    def __init__(self, current: int, subject: str = "threshold has") -> None:
        super().__init__(
            f"The {subject} changed: the version is now {current}. "
            f'Read it again and send If-Match: "{current}".'
        )


class Invalid(FeedsvcError):
    """A value is readable and not acceptable. `errors` is `{location: {field: [message]}}`."""

    status = 422

    def __init__(self, location: str, field: str, message: str) -> None:
        self.errors = {location: {field: [message]}}
        super().__init__(f"{field}: {message}")


class BadCursor(FeedsvcError):
    """A cursor that is damaged, or that belongs to another list."""

    status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The cursor cannot be read: {reason}. Leave it out to start from the top of the list."
        )


class StoreUnavailable(FeedsvcError):
    """A store that the answer needs is down or too slow. A repeat succeeds once the store is back.

    A store that went down during the request may have committed the change, so the message must not
    say that the change failed. `cause` is for the log and the command line. It may name hosts, so
    it never reaches a client.
    """

    status = 503
    retry_after_seconds = 2

    def __init__(self, store: str, cause: str = "") -> None:
        self.store = store
        self.cause = cause
        super().__init__(
            f"{self.named} cannot be used now. Try again in a moment. "
            "A repeat is safe; repeat an upload with its Idempotency-Key."
        )

    @property
    def named(self) -> str:
        """Return the store as the subject of a sentence."""
        return self.store if self.store[0].isupper() else f"The {self.store}"

    @property
    def lines(self) -> list[str]:
        """Return what went wrong, in one line."""
        if not self.cause:
            return super().lines
        return [_one_line(f"{self.named} cannot be used: {self.cause}")]


class StoredNotFinished(StoreUnavailable):
    """The change is committed, and a store failed before the effects were applied.

    A sweep applies the effects within seconds after the store is back.
    """

    def __init__(self, error: StoreUnavailable) -> None:
        super().__init__(error.store, error.cause)
        message = (
            f"The change is stored. {error.named} failed before the change was finished. "
            "The service finishes it within seconds after that store is back. "
            "A repeat is safe; repeat an upload with its Idempotency-Key to get the first answer."
        )
        self.args = (message,)


@contextmanager
def ends_process(exit_code: int) -> Iterator[None]:
    """Print an error of the domain to stderr, in one line for each fault, and end the process.

    For modules that the commands of other projects import. Those would print a traceback.
    """
    try:
        yield
    except FeedsvcError as error:
        sys.stderr.writelines(f"error: {line}\n" for line in error.lines)
        sys.exit(exit_code)


def _one_line(text: str) -> str:
    return " ".join(text.split())
