"""`/v1/admin`: the threshold and its record, pins, fan-outs, and explanations of feeds.

The group `studio` previews a change of the threshold, and recommends one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flask import Response, request

from feedsvc.api.answers import answer_json, answer_page
from feedsvc.api.operations import Call, Operations, services
from feedsvc.api.planning_schemas import (
    InputsAnswer,
    PreviewAnswer,
    PreviewQuery,
    RecommendationAnswer,
    RecommendationQuery,
)
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
from feedsvc.fanout import status
from feedsvc.inspection.explain import explain
from feedsvc.planning.change import change, rollback
from feedsvc.planning.inputs import overview
from feedsvc.planning.preview import preview
from feedsvc.planning.recommendation import recommendation
from feedsvc.routing import guardrails, load_shedding, pins, versions
from feedsvc.routing.guardrails import Guardrails

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.routing.guardrails import GuardrailsInfo
    from feedsvc.routing.versions import PolicyInfo
    from feedsvc.store import Stores

operations = Operations("Administration")
studio = Operations("Threshold studio")

# A caller that may change may also read.
_READ = ("admin:read", "admin:write")
_WRITE = ("admin:write",)
# A list of ETags by RFC 9110, section 8.8.3, and the ETags of versions in it.
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_VERSION = re.compile(r'"([1-9][0-9]{0,9})"', re.ASCII)


@operations.declare("GET", "/admin/threshold", scopes=_READ, answers={200: ThresholdAnswer})
def get_threshold(call: Call) -> Response:
    """Get the current threshold, with its ETag."""
    return _threshold(versions.current(call.stores))


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
    by = str(call.caller.account)
    return _threshold(
        change(call.stores, **call.body, changed_by=by, if_match=_if_match(versions.current))
    )


@operations.declare_list("/admin/threshold/history", ThresholdAnswer, scopes=_READ)
def get_threshold_history(call: Call) -> Response:
    """List every version of the threshold, newest first."""
    page = versions.history(call.stores, call.query["cursor"], call.query["limit"])
    return answer_page(page, call.query["limit"], ThresholdAnswer())


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
    by = str(call.caller.account)
    return _threshold(
        rollback(call.stores, **call.body, changed_by=by, if_match=_if_match(versions.current))
    )


@operations.declare(
    "GET", "/admin/threshold/guardrails", scopes=_READ, answers={200: GuardrailsAnswer}
)
def get_guardrails(call: Call) -> Response:
    """Get the limits on changes of the threshold, with their ETag, and the load shedding."""
    return _guardrails(call, guardrails.current(call.stores))


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
    """Set all limits at once; a limit that is left out does not apply."""
    reason, by = call.body.pop("reason"), str(call.caller.account)
    limits = Guardrails(**call.body)
    return _guardrails(
        call,
        guardrails.change(
            call.stores,
            limits,
            reason=reason,
            changed_by=by,
            if_match=_if_match(guardrails.current),
        ),
    )


@operations.declare(
    "GET", "/admin/accounts/{id}/route", scopes=_READ, answers={200: RouteAnswer}, errors=(404,)
)
def get_route(call: Call) -> Response:
    """Get the route of an account's next post, and the reason."""
    return answer_json(RouteAnswer().dump(pins.route_of(call.stores, call.account)))


@operations.declare(
    "PUT",
    "/admin/accounts/{id}/route",
    scopes=_WRITE,
    body=PinBody(),
    answers={200: RouteAnswer},
    errors=(404, 409),
)
def put_route(call: Call) -> Response:
    """Pin the route of an account."""
    by = str(call.caller.account)
    return answer_json(
        RouteAnswer().dump(pins.pin(call.stores, call.account, **call.body, pinned_by=by))
    )


@operations.declare(
    "DELETE",
    "/admin/accounts/{id}/route",
    scopes=_WRITE,
    answers={204: "Unpinned, or never pinned"},
    errors=(409,),
)
def delete_route(call: Call) -> None:
    """Remove the pin of an account, so that the threshold decides again."""
    pins.unpin(call.stores, call.account)


@operations.declare_list("/admin/pins", PinAnswer, scopes=_READ)
def list_pins(call: Call) -> Response:
    """List the pins in force."""
    page = pins.pins(call.stores, call.query["cursor"], call.query["limit"])
    return answer_page(page, call.query["limit"], PinAnswer())


@operations.declare(
    "GET", "/admin/fanouts/{post_id}", scopes=_READ, answers={200: FanoutAnswer}, errors=(404,)
)
def get_fanout(call: Call) -> Response:
    """Get the progress of a post's fan-out."""
    return answer_json(FanoutAnswer().dump(status.status(call.stores, call.path["post_id"])))


@operations.declare(
    "GET",
    "/admin/explain",
    scopes=_READ,
    query=ExplainQuery,
    answers={200: ExplanationAnswer},
    errors=(404,),
)
def get_explain(call: Call) -> Response:
    """Explain why a post is in a feed, or why not."""
    explanation = explain(call.stores, call.query["viewer"], call.query["post"])
    return answer_json(ExplanationAnswer().dump(explanation))


@studio.declare(
    "GET",
    "/admin/threshold/preview",
    scopes=_READ,
    query=PreviewQuery,
    answers={200: PreviewAnswer},
    errors=(409,),
)
def get_threshold_preview(call: Call) -> Response:
    """Preview a change of the threshold: each figure today and as proposed."""
    return answer_json(PreviewAnswer().dump(preview(call.stores, **call.query)))


@studio.declare(
    "GET",
    "/admin/threshold/recommendation",
    scopes=_READ,
    query=RecommendationQuery,
    answers={200: RecommendationAnswer},
    errors=(409,),
)
def get_threshold_recommendation(call: Call) -> Response:
    """Recommend the threshold of least cost that respects the limits, with the reason."""
    limits = {name: limit for name, limit in call.query.items() if name != "processes"}
    found = recommendation(call.stores, Guardrails(**limits), call.query["processes"])
    return answer_json(RecommendationAnswer().dump(found))


@studio.declare(
    "GET", "/admin/threshold/inputs", scopes=_READ, answers={200: InputsAnswer}, errors=(409,)
)
def get_threshold_inputs(call: Call) -> Response:
    """Get the latest survey, the unit costs and the distribution of followers."""
    return answer_json(InputsAnswer().dump(overview(call.stores)))


def _threshold(info: PolicyInfo) -> Response:
    return answer_json(ThresholdAnswer().dump(info), ETag=f'"{info.version}"')


def _guardrails(call: Call, info: GuardrailsInfo) -> Response:
    shedding = load_shedding.current(call.stores)
    return answer_json(
        GuardrailsAnswer().dump({**vars(info), **vars(info.guardrails), "relief": shedding}),
        ETag=f'"{info.version}"',
    )


def _if_match(current: Callable[[Stores], PolicyInfo | GuardrailsInfo]) -> int | None:
    """Return the version that the caller has read. None for `*`, which accepts any version.

    If the header lists several ETags, return the current version if it is in the list. Return 0 if
    the header has no version of ours. Versions count from 1, so 0 is always stale.

    By RFC 9110, section 13.1.1, a weak ETag never matches here. The service accepts its own weak
    ETags all the same. Proxies that compress an answer, like nginx, make its ETag weak, so their
    clients have no strong one. A weak ETag of the service still names one version exactly.
    """
    given = request.headers.get("If-Match")
    if given is None:
        raise PreconditionRequired(
            'Say which version you have read: If-Match: "<version>" (the ETag of GET), '
            "or If-Match: *."
        )
    if given.strip() == "*":
        return None
    listed = [int(number) for number in _VERSION.findall(given)] if _TAGS.fullmatch(given) else []
    if len(listed) > 1:
        latest = current(services().stores).version
        return latest if latest in listed else 0
    return listed[0] if listed else 0
