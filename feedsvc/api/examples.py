"""Examples for the OpenAPI document, by the name of a field or parameter.

A schema that uses a name in another meaning has its own example for it.
"""

from __future__ import annotations

_ACCOUNT, _OTHER, _POST = "9007199254740993", "9007199254740994", "385942118400001"
_TIME = "2026-11-24T22:00:00.000Z"

EXAMPLES = {
    "Idempotency-Key": "2f1c9a4e-upload-17",
    "If-Match": '"3"',
    "account_id": _ACCOUNT,
    "action": "followed",
    "author_id": _ACCOUNT,
    "batches": 6,
    "blocked": _OTHER,
    "created_at": _TIME,
    "cursor": "2N9imgEBAIGA_Lay4Fc",
    "delivered": 48_211,
    "description": "Sunset",
    "detail": "Must be at least 1.",
    "errors": {
        "query": {"limit": ["Must be greater than or equal to 1 and less than or equal to 100."]}
    },
    "expires_at": "2026-12-24T22:00:00.000Z",
    "finished_at": "2026-11-24T22:00:01.250Z",
    "followee": _OTHER,
    "follower": _ACCOUNT,
    "follower_count": 52_300,
    "deleting": True,
    "followers": 52_300,
    "following_count": 214,
    "id": _ACCOUNT,
    "muted": _OTHER,
    "next_cursor": "2N9imgEBAIGA_Lay4Fc",
    "photo_url": "https://img.example/1.jpg",
    "pinned_at": _TIME,
    "pinned_by": "9007199254740001",
    "policy_version": 3,
    "post_id": _POST,
    "prev_cursor": "DpvF6QEBAYGA_Lay4Fc",
    "reason": "Queue lag at peak",
    "request_id": "4f2d7eaf7ca9e030",
    "rollout_percent": 100,
    "skipped": 4_089,
    "started_at": _TIME,
    "status": 422,
    "title": "Unprocessable Content",
    "type": "about:blank",
    "version": 2,
    "why": "pinned by an operator",
}
