"""The steps that every operation of `/v1` shares: check token, scope, path, query and body.

An operation is declared once. The declaration routes it, guards it, parses for it and documents it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from flask import current_app, g, request
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from feedsvc.api.answers import answer_nothing
from feedsvc.api.problems import BadRequest, InvalidFields, UnsupportedMediaType
from feedsvc.api.schemas import NoQuery, PageQuery
from feedsvc.errors import Forbidden
from feedsvc.formats import ACCEPTED_ID, parse_id
from feedsvc.graph import accounts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flask import Flask, Response

    from feedsvc.api.auth import Caller
    from feedsvc.services import Services
    from feedsvc.store import Stores

    View = Callable[["Call"], Response | None]
    AnyView = TypeVar("AnyView", bound=View)

# The most items of a batch, and the most bytes of a body.
BATCH = 1_000
MAX_BODY_BYTES = 1_048_576
# A client polls with the same query until it sees a post. Cache the queries of this many clients,
# as `auth` caches their tokens. This takes about 10 MB.
_CACHED_QUERIES = 20_000
_CACHED_QUERY_BYTES = 64


@dataclass(frozen=True)
class Call:
    """One request, checked and parsed."""

    services: Services
    caller: Caller
    path: dict[str, int]
    query: Mapping[str, Any]
    body: Any

    @property
    def stores(self) -> Stores:
        """Return the stores of the service."""
        return self.services.stores

    @property
    def account(self) -> int:
        """Return the account in the path, or the caller's own where the path names none."""
        return self.path.get("id", self.caller.account)

    @property
    def viewer(self) -> int | None:
        """Return the caller's account. None for the app's backend.

        The backend sees hidden posts, and may change the posts of every account.
        """
        return None if self.caller.acts_for_anyone else self.caller.account


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation as it was declared. `answers` maps a status to a schema or a description."""

    method: str
    path: str
    name: str
    summary: str
    scopes: tuple[str, ...]
    answers: dict[int, type[Schema] | str]
    errors: tuple[int, ...] = ()
    # The account in the path must be the caller's own, unless the caller acts for anyone.
    own_account: bool = False
    query: type[Schema] = NoQuery
    body: Schema | None = None
    headers: tuple[str, ...] = ()
    # The answer is a page: a list under `data`, its cursors under `page`.
    paged: bool = False
    # The first call of an account creates the account.
    creates_account: bool = True
    # A view that returns None gets an answer without a body, with the declared status.
    view: View = field(compare=False)


class Operations:
    """A group of operations, declared by decorating their views."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.declared: list[Operation] = []

    def declare(self, method: str, path: str, **more: Any) -> Callable[[AnyView], AnyView]:
        """Declare the decorated view as an operation. Its docstring is the summary."""

        def decorate(view: AnyView) -> AnyView:
            summary = (view.__doc__ or "").strip().rstrip(".")
            self.declared.append(
                Operation(
                    method=method, path=path, name=view.__name__, summary=summary, view=view, **more
                )
            )
            return view

        return decorate

    def declare_list(
        self, path: str, of: type[Schema], **more: Any
    ) -> Callable[[AnyView], AnyView]:
        """Declare the decorated view as a `GET` that answers with a page of `of`."""
        errors = (400, *more.pop("errors", ()))
        return self.declare(
            "GET", path, query=PageQuery, paged=True, answers={200: of}, errors=errors, **more
        )

    def register(self, app: Flask) -> None:
        """Route every operation of the group."""
        for operation in self.declared:
            rule = "/v1" + operation.path.replace("{", "<").replace("}", ">")
            app.add_url_rule(
                rule,
                operation.name,
                partial(_run, operation, operation.query()),
                methods=[operation.method],
            )


def services() -> Services:
    """Return the services of the application that answers the current request."""
    found: Services = current_app.extensions["feedsvc"]
    return found


def _run(operation: Operation, query_schema: Schema, **path_texts: str) -> Response:
    caller: Caller = g.caller
    if not caller.scopes.intersection(operation.scopes):
        needed = " or ".join(operation.scopes)
        raise Forbidden(f"The token's scope does not allow this. Use a token with scope {needed}.")
    path = _parse_path(path_texts, caller)
    is_own = path.get("id", caller.account) == caller.account
    if operation.own_account and not is_own and not caller.acts_for_anyone:
        raise Forbidden(
            "A token with the scope feed may act for its own account only: use me, or your own id."
        )
    query = _parse_query(query_schema)
    body = _parse_body(operation.body) if operation.body is not None else None
    call = Call(services(), caller, path, query, body)
    if operation.creates_account and "feed" in caller.scopes:
        accounts.ensure(call.stores, caller.account)
    answer = operation.view(call)
    return answer_nothing(min(operation.answers)) if answer is None else answer


def _parse_path(texts: dict[str, str], caller: Caller) -> dict[str, int]:
    ids: dict[str, int] = {}
    for name, text in texts.items():
        number = caller.account if name == "id" and text == "me" else parse_id(text)
        if number is None:
            raise InvalidFields("path", {name: [ACCEPTED_ID + (" Or me." if name == "id" else "")]})
        ids[name] = number
    return ids


def _parse_query(schema: Schema) -> Mapping[str, Any]:
    if len(request.query_string) <= _CACHED_QUERY_BYTES:
        return _parse_short_query(schema, request.query_string)
    return _load_query(schema)


@lru_cache(_CACHED_QUERIES)
def _parse_short_query(schema: Schema, _text: bytes) -> Mapping[str, Any]:
    """Parse a short query, once for each text.

    A query that is refused raises, so it is not cached.
    """
    return MappingProxyType(_load_query(schema))


def _load_query(schema: Schema) -> dict[str, Any]:
    given = request.args.to_dict(flat=False)
    repeated = [name for name, values in given.items() if len(values) > 1]
    if repeated:
        raise InvalidFields("query", {name: ["Must be given once."] for name in repeated})
    return dict(_load(schema, {name: value for name, [value] in given.items()}, "query"))


def _parse_body(schema: Schema) -> Any:
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("The body must be JSON: send Content-Type: application/json.")
    raw = _received_body()
    if len(raw) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    if not raw and request.headers.get("Transfer-Encoding"):
        raise BadRequest("The body did not arrive. Send it with a Content-Length.")
    try:
        data = json.loads(raw.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except ValueError:
        raise BadRequest("The body is not JSON in UTF-8 (RFC 8259).") from None
    # Count the items before each one is checked, and described in the answer.
    if schema.many and isinstance(data, list) and not 1 <= len(data) <= BATCH:
        raise InvalidFields("json", {"_schema": [f"Must be a list of 1 to {BATCH} items."]})
    return _load(schema, data, "json")


def _received_body() -> bytes:
    """Return the whole body. Raises `BadRequest` if the server cannot read it to its end."""
    try:
        return request.get_data()
    except HTTPException:
        raise
    except Exception as error:
        # Each server has its own errors for a body whose chunks are broken.
        raise BadRequest(
            "The body is damaged: its chunks cannot be read. Send it again."
        ) from error


def _refuse_constant(name: str) -> None:
    """Refuse NaN and the infinities, which Python reads and JSON does not have."""
    raise ValueError(name)


def _load(schema: Schema, data: Any, location: str) -> Any:
    try:
        return schema.load(data)
    except ValidationError as error:
        raise InvalidFields(location, error.messages_dict) from None
