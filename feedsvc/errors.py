"""What can go wrong in the domain. Each error carries its data and says what to do next.

`feedsvc.api.problems` turns them into RFC 9457 answers, `feedsvc.cli` into one line and an exit code.
"""

from __future__ import annotations

from typing import Any


class FeedsvcError(Exception):
    """Anything that this service refuses or cannot do, in words meant for the caller."""

    status = 500
    title = "Internal error"

    @property
    def detail(self) -> str:
        """The message for the caller."""
        return str(self)


class BadSettings(FeedsvcError):
    """The environment, or the keywords of `create_app`, hold values that cannot be used."""

    def __init__(self, messages: dict[str, Any]) -> None:
        self.messages = messages
        parts = [f"{name}: {' '.join(map(str, texts))}" for name, texts in sorted(messages.items())]
        super().__init__(
            "bad settings (environment names have the prefix FEEDSVC_): " + "; ".join(parts)
        )


class NotFound(FeedsvcError):
    """What was asked for does not exist, or is hidden from the caller."""

    status = 404
    title = "Not found"

    def __init__(self, what: str, ident: object) -> None:
        self.what = what
        self.ident = ident
        super().__init__(f"There is no {what} {ident}.")


class Forbidden(FeedsvcError):
    """The caller may not do this."""

    status = 403
    title = "Forbidden"


class Conflict(FeedsvcError):
    """The request fights with another one, or with the state of the service."""

    status = 409
    title = "Conflict"


class Refused(Conflict):
    """A guardrail forbids this change. `broken`: each limit that it would break, with the numbers."""

    def __init__(self, broken: list[dict[str, Any]]) -> None:
        self.broken = broken
        what = "; ".join(each["detail"] for each in broken)
        super().__init__(
            f"The guardrails refuse this change: {what}. Change less, or force it and give the reason."
        )


class StaleVersion(FeedsvcError):
    """`If-Match` names a version that is no longer the current one."""

    status = 412
    title = "Precondition failed"

    def __init__(self, current: int, what: str = "threshold has") -> None:
        self.current = current
        super().__init__(
            f'The {what} changed: its version is now {current}. Read it again and send If-Match: "{current}".'
        )


class Invalid(FeedsvcError):
    """A value is understood and not acceptable. `errors` is `{location: {field: [message]}}`."""

    status = 422
    title = "Unprocessable content"

    def __init__(self, location: str, field: str, message: str) -> None:
        self.errors = {location: {field: [message]}}
        super().__init__(f"{field}: {message}")


class BadCursor(FeedsvcError):
    """A cursor that this list did not hand out."""

    status = 400
    title = "Bad request"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The cursor cannot be read: {why}. Leave it out to start from the top of the list."
        )


class StoreUnavailable(FeedsvcError):
    """A store that the answer needs is down, or too slow; the same request works once it is back.

    A store that went down in the middle may have committed what was asked: so may the answer's message not deny it.
    """

    status = 503
    title = "Service unavailable"
    retry_after_seconds = 2

    def __init__(self, store: str) -> None:
        self.store = store
        super().__init__(
            f"The {store} cannot be reached. Try again in a moment: that is safe, for an upload with its Idempotency-Key."
        )
