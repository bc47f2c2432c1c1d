"""`/v1/admin/threshold/…`: what a change would do, which threshold to choose, and what both rest on."""

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
from feedsvc.planning.overview import look
from feedsvc.planning.preview import preview
from feedsvc.planning.recommendation import RecommendationLimits, recommendation

if TYPE_CHECKING:
    from flask import Response

    from feedsvc.api.operations import Call

operations = Operations("Threshold studio")

# Whoever may change may read.
_READ = ("admin:read", "admin:write")
_PREVIEW = PreviewAnswer()
_RECOMMENDATION = RecommendationAnswer()
_INPUTS = InputsAnswer()


@operations.declare(
    "GET",
    "/admin/threshold/preview",
    scopes=_READ,
    query=PreviewQuery,
    answers={200: PreviewAnswer},
    errors=(409,),
)
def get_threshold_preview(call: Call) -> Response:
    """What a change of the threshold would do, beside today."""
    return answer_json(_PREVIEW.dump(preview(call.services.stores, **call.query)))


@operations.declare(
    "GET",
    "/admin/threshold/recommendation",
    scopes=_READ,
    query=RecommendationQuery,
    answers={200: RecommendationAnswer},
    errors=(409,),
)
def get_threshold_recommendation(call: Call) -> Response:
    """The threshold of least cost that keeps the limits, and why."""
    return answer_json(
        _RECOMMENDATION.dump(
            recommendation(call.services.stores, RecommendationLimits(**call.query))
        )
    )


@operations.declare(
    "GET", "/admin/threshold/inputs", scopes=_READ, answers={200: InputsAnswer}, errors=(409,)
)
def get_threshold_inputs(call: Call) -> Response:
    """What previews and recommendations rest on: the last look, the unit costs, the distribution of followers."""
    return answer_json(_INPUTS.dump(look(call.services.stores)))
