"""The OpenAPI 3.1 document, generated from the declarations of the operations."""

from __future__ import annotations

import re
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields

from feedsvc.api import accounts, admin, posts
from feedsvc.api.auth import SCOPES
from feedsvc.api.examples import EXAMPLES
from feedsvc.api.fields import MAX_LIMIT, Flag, Id, IdList, Limit, Moment, QueryAmount, QueryCount
from feedsvc.api.operations import BATCH
from feedsvc.formats import MAX_ID
from feedsvc.version import __version__

if TYPE_CHECKING:
    from feedsvc.api.operations import Operation, Operations

GROUPS: tuple[Operations, ...] = (
    posts.operations,
    accounts.operations,
    admin.operations,
    admin.studio,
)

_ID = {"type": "string", "pattern": "^[1-9][0-9]{0,18}$", "maxLength": 19}
# By name: whether the header is required, and its description.
_HEADERS = {
    "Idempotency-Key": (
        False,
        "1 to 255 characters, valid for 24 hours. The same body gets the first answer again.",
    ),
    "If-Match": (
        True,
        'The ETag of the version that the caller has read, `"3"`, a list of ETags, or `*`.',
    ),
}
# By class: the type, the format and the bounds of a field in the document.
_FIELDS: dict[type[fields.Field[Any]], tuple[str | None, str | None, dict[str, Any]]] = {
    Id: ("string", None, {"pattern": _ID["pattern"], "maxLength": _ID["maxLength"]}),
    IdList: ("string", None, {}),
    Moment: ("string", "date-time", {}),
    Flag: ("boolean", None, {}),
    Limit: ("integer", None, {"minimum": 1, "maximum": MAX_LIMIT}),
    QueryCount: ("integer", "int64", {"minimum": 1, "maximum": MAX_ID}),
    QueryAmount: ("number", None, {"exclusiveMinimum": 0}),
}
_ALWAYS = (401, 403, 422, 503)
_MEANING = {
    400: "Not JSON, or a cursor that cannot be read",
    401: "No token, or an invalid one",
    403: "The scope is missing, or the account belongs to another caller",
    404: "Does not exist, or is hidden from the caller",
    409: "In conflict with another request, or refused by a guardrail (`broken` has the numbers)",
    412: "If-Match names a version that is no longer current",
    413: "The body is larger than 1 MiB",
    415: "The body does not say that it is JSON",
    422: "Values of the wrong shape, named in `errors`",
    428: "If-Match is missing",
    503: "A store that the answer needs is down; Retry-After says when to try again",
}

_DESCRIPTION = """A home feed service: uploads that return at once, and feeds that are exact.

Ids are decimal strings. Times are RFC 3339, UTC. Lists take `limit` and an opaque `cursor`.
Errors are RFC 9457 problems. Every answer carries `X-Request-ID`."""

_SCOPES = (
    f"`sub` (an account id), `scope` (of {', '.join(f'`{scope}`' for scope in SCOPES)}; "
    "separated by spaces) and `exp` are required."
)


class BrokenSchema(Schema):
    """A guardrail that a change would break, with its limit and the forecast value."""

    guardrail = fields.String(metadata={"example": "max_moved_percent"})
    limit = fields.Float(metadata={"example": 20.0})
    value = fields.Float(
        allow_none=True,
        metadata={"description": "Null if unknown, or without bound.", "example": 31.5},
    )
    detail = fields.String(
        metadata={"example": "31.5 % of a day's deliveries moved, the limit is 20"}
    )


class ProblemSchema(Schema):
    """A problem by RFC 9457."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    request_id = fields.String(required=True)
    errors = fields.Dict(metadata={"description": "{location: {field: [message]}}, for 422"})
    broken = fields.List(
        fields.Nested(BrokenSchema),
        metadata={"description": "The guardrails that refuse a change, for 409."},
    )


class PageSchema(Schema):
    """The cursors of a page."""

    next_cursor = fields.String(
        allow_none=True,
        metadata={"description": "Leads to older items; null exactly when none are left."},
    )
    prev_cursor = fields.String(metadata={"description": "Leads to newer items; poll with it."})


@cache
def document() -> dict[str, Any]:
    """Return the whole document."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name)
    spec = APISpec(
        "feedsvc",
        __version__,
        "3.1.0",
        plugins=[plugin],
        info={"description": _DESCRIPTION},
        security=[{"token": []}],
    )
    assert plugin.converter is not None, "APISpec has initialised the plugin"
    for field, (kind, kind_format, _) in _FIELDS.items():
        plugin.map_to_openapi_type(field, kind, kind_format)  # type: ignore[no-untyped-call]
    plugin.converter.add_attribute_function(_attributes)  # type: ignore[no-untyped-call]
    spec.components.security_scheme(
        "token", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": _SCOPES}
    )
    spec.components.schema("Problem", schema=ProblemSchema)
    spec.components.schema("Page", schema=PageSchema)
    for group in GROUPS:
        spec.tag({"name": group.tag})
        for operation in group.declared:
            spec.path(
                "/v1" + operation.path,
                operations={operation.method.lower(): _operation(group.tag, operation)},
            )
    return dict(spec.to_dict())


def _operation(tag: str, operation: Operation) -> dict[str, Any]:
    errors = {*_ALWAYS, *operation.errors}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [tag],
        "summary": operation.summary,
        "description": f"Scope: {' or '.join(f'`{scope}`' for scope in operation.scopes)}.",
        "parameters": _parameters(operation),
    }
    if operation.body is not None:
        errors |= {400, 413, 415}
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _body(operation.body)}},
        }
    described["responses"] = {
        **{
            str(status): _answer(operation, status, shape)
            for status, shape in operation.answers.items()
        },
        **{
            str(status): {
                "description": _MEANING[status],
                "content": {"application/problem+json": {"schema": ProblemSchema}},
            }
            for status in sorted(errors)
        },
    }
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    or_me = {"oneOf": [_ID, {"const": "me"}]}
    in_path = [
        {
            "in": "path",
            "name": name,
            "required": True,
            "schema": or_me if name == "id" else _ID,
            "example": EXAMPLES[name],
        }
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    in_headers = [
        {
            "in": "header",
            "name": name,
            "required": _HEADERS[name][0],
            "description": _HEADERS[name][1],
            "schema": {"type": "string"},
            "example": EXAMPLES[name],
        }
        for name in operation.headers
    ]
    return [*in_path, *in_headers, {"in": "query", "schema": operation.query}]


def _body(schema: Schema) -> dict[str, Any] | Schema:
    if schema.many:
        return {"type": "array", "items": type(schema), "minItems": 1, "maxItems": BATCH}
    return schema


def _answer(operation: Operation, status: int, shape: type[Schema] | str) -> dict[str, Any]:
    if isinstance(shape, str):
        return {"description": shape}
    content: Any = shape
    if operation.paged:
        content = {
            "type": "object",
            "properties": {"data": {"type": "array", "items": shape}, "page": PageSchema},
            "required": ["data", "page"],
        }
    return {
        "description": HTTPStatus(status).phrase,
        "content": {"application/json": {"schema": content}},
    }


def _attributes(_converter: Any, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
    """Return the bounds of a field's type, and an example by its name if it has none of its own."""
    bounds = _FIELDS[type(field)][2] if type(field) in _FIELDS else {}
    if "example" in field.metadata or field.name not in EXAMPLES:
        return bounds
    return {**bounds, "example": EXAMPLES[field.name]}


def _name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema").removesuffix("Answer")
