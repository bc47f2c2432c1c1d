"""`/v1/admin/threshold/…`: previews of a change, the recommendation, and their figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.api.answers import answer_json
from feedsvc.api.operations import Operations
from feedsvc.api.planning_schemas import (
    InputsAnswer,
    PreviewAnswer,
    PreviewQuery,
    RecommendationAnswer,
    RecommendationQuery,
)
from feedsvc.planning.overview import overview
from feedsvc.planning.preview import preview
from feedsvc.planning.recommendation import recommendation
from feedsvc.routing.guardrails import Guardrails

if TYPE_CHECKING:
    from flask import Response

    from feedsvc.api.operations import Call

operations = Operations("Threshold studio")

# A caller that may change may also read.
_READ = ("admin:read", "admin:write")


@operations.declare(
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


@operations.declare(
    "GET",
    "/admin/threshold/recommendation",
    scopes=_READ,
    query=RecommendationQuery,
    answers={200: RecommendationAnswer},
    errors=(409,),
)
def get_threshold_recommendation(call: Call) -> Response:
    """Recommend the threshold of least cost that respects the limits, with the reason."""
    found = recommendation(call.stores, Guardrails(**call.query))
    return answer_json(RecommendationAnswer().dump(found))


@operations.declare(
    "GET", "/admin/threshold/inputs", scopes=_READ, answers={200: InputsAnswer}, errors=(409,)
)
def get_threshold_inputs(call: Call) -> Response:
    """Get the latest survey, the unit costs and the distribution of followers."""
    return answer_json(InputsAnswer().dump(overview(call.stores)))
