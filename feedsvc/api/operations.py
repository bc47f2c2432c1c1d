"""What every operation of `/v1` has in common: token, then scope, then path, query and body are judged, in this order.

An operation is declared once; the same declaration routes it, guards it, parses for it and documents it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from flask import Response, current_app, g, request
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from feedsvc.api.problems import BadRequest, InvalidFields, UnsupportedMediaType
from feedsvc.api.schemas import NoQuery, PageQuery
from feedsvc.errors import Forbidden
from feedsvc.formats import ACCEPTED_ID, parse_id
from feedsvc.graph import accounts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flask import Flask

    from feedsvc.api.auth import Caller
    from feedsvc.services import Services

BATCH = 1_000
MAX_BODY_BYTES = 1_048_576
_SHORT_QUERY = 64


@dataclass(frozen=True)
class Call:
    """One request, judged and parsed."""

    services: Services
    caller: Caller
    path: dict[str, int]
    query: Mapping[str, Any]
    body: Any

    @property
    def account(self) -> int:
        """The account that the address names, or that the short form stands for: the caller's own."""
        return self.path.get("id", self.caller.account)

    @property
    def viewer(self) -> int | None:
        """Whose eyes count: the caller's; None for the app's backend, from which nothing is hidden."""
        return None if self.caller.acts_for_anyone else self.caller.account


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation as it was declared."""

    method: str
    path: str
    name: str
    summary: str
    scopes: tuple[str, ...]
    answers: dict[int, type[Schema] | str]
    errors: tuple[int, ...] = ()
    # The account that the address names must be the caller's own, unless the caller acts for anyone.
    own: bool = False
    query: type[Schema] = NoQuery
    body: Schema | None = None
    headers: tuple[str, ...] = ()
    # A list under `data` with `page` beside it.
    paged: bool = False
    # The call makes the caller's account if it has none yet.
    makes_account: bool = True
    view: Callable[[Call], Response] = field(compare=False)


class Operations:
    """A group of operations, declared by decorating their views."""

    def __init__(self, tag: str) -> None:
        """An empty group."""
        self.tag = tag
        self.declared: list[Operation] = []

    def declare(
        self, method: str, path: str, **more: Any
    ) -> Callable[[Callable[[Call], Response]], Callable[[Call], Response]]:
        """Declare the decorated view; its docstring is the summary."""

        def decorate(view: Callable[[Call], Response]) -> Callable[[Call], Response]:
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
    ) -> Callable[[Callable[[Call], Response]], Callable[[Call], Response]]:
        """Declare the decorated view, which answers with a page of such items."""
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
    """The services of the application that answers this request."""
    found: Services = current_app.extensions["feedsvc"]
    return found


def _run(operation: Operation, query_schema: Schema, **raw: str) -> Response:
    caller: Caller = g.caller
    if not caller.scopes.intersection(operation.scopes):
        needed = " or ".join(operation.scopes)
        raise Forbidden(f"The token's scope does not allow this; it takes {needed}.")
    path = _path(raw, caller)
    if (
        operation.own
        and not caller.acts_for_anyone
        and path.get("id", caller.account) != caller.account
    ):
        raise Forbidden(
            "A token with the scope feed may act for its own account only: say me, or your own id."
        )
    query = _query(query_schema)
    body = _body(operation.body) if operation.body is not None else None
    call = Call(services(), caller, path, query, body)
    if operation.makes_account and "feed" in caller.scopes:
        accounts.ensure(call.services.stores, caller.account)
    return operation.view(call)


def _path(raw: dict[str, str], caller: Caller) -> dict[str, int]:
    ids: dict[str, int] = {}
    for name, text in raw.items():
        number = caller.account if name == "id" and text == "me" else parse_id(text)
        if number is None:
            raise InvalidFields("path", {name: [ACCEPTED_ID + (" Or me." if name == "id" else "")]})
        ids[name] = number
    return ids


def _query(schema: Schema) -> Mapping[str, Any]:
    if len(request.query_string) <= _SHORT_QUERY:
        return _short_query(schema, request.query_string)
    return _judged_query(schema)


@lru_cache(maxsize=1_000)
def _short_query(schema: Schema, _: bytes) -> Mapping[str, Any]:
    """Most queries are one of a few, and the same text is always the same query. One that is refused is judged anew each time."""
    return MappingProxyType(_judged_query(schema))


def _judged_query(schema: Schema) -> dict[str, Any]:
    given = request.args.to_dict(flat=False)
    repeated = [name for name, values in given.items() if len(values) > 1]
    if repeated:
        raise InvalidFields("query", {name: ["Must be given once."] for name in repeated})
    query: dict[str, Any] = _load(schema, {name: value for name, [value] in given.items()}, "query")
    return query


def _body(schema: Schema) -> Any:
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("The body must be JSON: send Content-Type: application/json.")
    raw = request.get_data()
    if len(raw) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    loaded = _load(schema, _json(raw), "json")
    if schema.many and not 1 <= len(loaded) <= BATCH:
        raise InvalidFields("json", {"_schema": [f"Must be a list of 1 to {BATCH} items."]})
    return loaded


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant)
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except ValueError:
        raise BadRequest("The body is not JSON in UTF-8 (RFC 8259).") from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _load(schema: Schema, data: Any, location: str) -> Any:
    try:
        loaded: Any = schema.load(data)
    except ValidationError as error:
        raise InvalidFields(location, error.messages_dict) from None
    return loaded
