"""`/v1/admin`: the threshold and its record, pins, how far a fan-out is, and why a post is in a feed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flask import Response, request

from feedsvc.api.answers import answer_json, answer_nothing, answer_page
from feedsvc.api.operations import Call, Operations
from feedsvc.api.problems import PreconditionRequired
from feedsvc.api.schemas import (
    ExplainQuery,
    ExplanationAnswer,
    FanoutAnswer,
    PinAnswer,
    PinBody,
    RollbackBody,
    RouteAnswer,
    ThresholdBody,
)
from feedsvc.api.threshold_schemas import GuardrailsAnswer, GuardrailsBody, ThresholdAnswer
from feedsvc.errors import StaleVersion
from feedsvc.fanout import status
from feedsvc.inspection.explain import explain
from feedsvc.planning.change import change, rollback
from feedsvc.routing import guardrails, load_shedding, pins, versions
from feedsvc.routing.guardrails import Guardrails

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.routing.guardrails import GuardrailsInfo
    from feedsvc.routing.versions import PolicyInfo
    from feedsvc.store import Stores

operations = Operations("Administration")

# Whoever may change may read.
_READ = ("admin:read", "admin:write")
_WRITE = ("admin:write",)
_THRESHOLD = ThresholdAnswer()
_ROUTE = RouteAnswer()
_ETAG = re.compile(r'"([1-9][0-9]{0,9})"', re.ASCII)


@operations.declare("GET", "/admin/threshold", scopes=_READ, answers={200: ThresholdAnswer})
def get_threshold(call: Call) -> Response:
    """The threshold that holds, with its ETag."""
    return _threshold(versions.current(call.services.stores))


@operations.declare(
    "PUT",
    "/admin/threshold",
    scopes=_WRITE,
    body=ThresholdBody(),
    headers=("If-Match",),
    answers={200: ThresholdAnswer},
    errors=(409, 412, 428),
)
def put_threshold(call: Call) -> Response:
    """Set a new version of the threshold."""
    stores = call.services.stores
    return _threshold(
        change(
            stores,
            **call.body,
            changed_by=str(call.caller.account),
            if_match=_if_match(call, _stale),
        )
    )


@operations.declare_list("/admin/threshold/history", ThresholdAnswer, scopes=_READ)
def get_threshold_history(call: Call) -> Response:
    """Every version of the threshold, newest first."""
    limit = call.query["limit"]
    return answer_page(
        versions.history(call.services.stores, call.query["cursor"], limit), limit, _THRESHOLD
    )


@operations.declare(
    "POST",
    "/admin/threshold/rollback",
    scopes=_WRITE,
    body=RollbackBody(),
    headers=("If-Match",),
    answers={200: ThresholdAnswer},
    errors=(412, 428),
)
def post_threshold_rollback(call: Call) -> Response:
    """Set a new version equal to an old one."""
    stores = call.services.stores
    return _threshold(
        rollback(
            stores,
            **call.body,
            changed_by=str(call.caller.account),
            if_match=_if_match(call, _stale),
        )
    )


@operations.declare(
    "GET", "/admin/threshold/guardrails", scopes=_READ, answers={200: GuardrailsAnswer}
)
def get_guardrails(call: Call) -> Response:
    """The limits on changes of the threshold, with their ETag, and the relief that holds."""
    return _guardrails(call, guardrails.current(call.services.stores))


@operations.declare(
    "PUT",
    "/admin/threshold/guardrails",
    scopes=_WRITE,
    body=GuardrailsBody(),
    headers=("If-Match",),
    answers={200: GuardrailsAnswer},
    errors=(412, 428),
)
def put_guardrails(call: Call) -> Response:
    """Set all limits at once; one that is left out does not apply."""
    stores, reason = call.services.stores, call.body.pop("reason")
    if_match = _if_match(call, _stale_guardrails)
    by = str(call.caller.account)
    return _guardrails(
        call,
        guardrails.change(
            stores, Guardrails(**call.body), reason=reason, changed_by=by, if_match=if_match
        ),
    )


@operations.declare(
    "GET", "/admin/accounts/{id}/route", scopes=_READ, answers={200: RouteAnswer}, errors=(404,)
)
def get_route(call: Call) -> Response:
    """The route of an account's next post, and why."""
    return answer_json(_ROUTE.dump(pins.route_of(call.services.stores, call.account)))


@operations.declare(
    "PUT",
    "/admin/accounts/{id}/route",
    scopes=_WRITE,
    body=PinBody(),
    answers={200: RouteAnswer},
    errors=(404,),
)
def put_route(call: Call) -> Response:
    """Pin the route of an account."""
    info = pins.pin(
        call.services.stores, call.account, **call.body, pinned_by=str(call.caller.account)
    )
    return answer_json(_ROUTE.dump(info))


@operations.declare(
    "DELETE",
    "/admin/accounts/{id}/route",
    scopes=_WRITE,
    answers={204: "Unpinned, or never pinned"},
)
def delete_route(call: Call) -> Response:
    """Let the threshold decide again."""
    pins.unpin(call.services.stores, call.account)
    return answer_nothing()


@operations.declare_list("/admin/pins", PinAnswer, scopes=_READ)
def list_pins(call: Call) -> Response:
    """The pins that stand."""
    limit = call.query["limit"]
    return answer_page(
        pins.pins(call.services.stores, call.query["cursor"], limit), limit, PinAnswer()
    )


@operations.declare(
    "GET", "/admin/fanouts/{post_id}", scopes=_READ, answers={200: FanoutAnswer}, errors=(404,)
)
def get_fanout(call: Call) -> Response:
    """How far the fan-out of a post is."""
    return answer_json(
        FanoutAnswer().dump(status.status(call.services.stores, call.path["post_id"]))
    )


@operations.declare(
    "GET",
    "/admin/explain",
    scopes=_READ,
    query=ExplainQuery,
    answers={200: ExplanationAnswer},
    errors=(404,),
)
def get_explain(call: Call) -> Response:
    """Whether a post is in a feed, and why or why not."""
    return answer_json(
        ExplanationAnswer().dump(
            explain(call.services.stores, call.query["viewer"], call.query["post"])
        )
    )


def _threshold(info: PolicyInfo) -> Response:
    return answer_json(_THRESHOLD.dump(info), ETag=f'"{info.version}"')


def _guardrails(call: Call, info: GuardrailsInfo) -> Response:
    relieving = load_shedding.current(call.services.stores)
    return answer_json(
        GuardrailsAnswer().dump({**vars(info), **vars(info.guardrails), "relief": relieving}),
        ETag=f'"{info.version}"',
    )


def _stale(stores: Stores) -> StaleVersion:
    return StaleVersion(versions.current(stores).version)


def _stale_guardrails(stores: Stores) -> StaleVersion:
    return StaleVersion(guardrails.current(stores).version, "guardrails have")


def _if_match(call: Call, stale: Callable[[Stores], StaleVersion]) -> int | None:
    """The version that the caller has seen; None for `*`. What cannot be a version of ours is a stale one."""
    given = request.headers.get("If-Match")
    if given is None:
        raise PreconditionRequired(
            'Say which version you have read: If-Match: "<version>" (the ETag of GET), or If-Match: *.'
        )
    if given.strip() == "*":
        return None
    version = _ETAG.fullmatch(given.strip())
    if version is None:
        raise stale(call.services.stores)
    return int(version[1])
