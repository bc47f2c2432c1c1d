"""`/v1/posts` and the lists of posts: uploads, single posts, profiles and home feeds."""

from __future__ import annotations

from flask import Response, request

from feedsvc.api.addresses import address
from feedsvc.api.answers import answer_posts
from feedsvc.api.operations import Call, Operations
from feedsvc.api.problems import InvalidFields
from feedsvc.api.schemas import EditBody, IdsQuery, PostBody
from feedsvc.cache.post_bodies import PostSchema
from feedsvc.errors import BadCursor, NotFound
from feedsvc.feed import profile, reader
from feedsvc.graph import accounts
from feedsvc.posts import edit, publish, read

operations = Operations("Posts and feeds")

_FEED = ("feed", "service")
_MAX_KEY_LENGTH = 255


@operations.declare(
    "POST",
    "/posts",
    scopes=_FEED,
    body=PostBody(),
    headers=("Idempotency-Key",),
    answers={201: PostSchema},
    errors=(404, 409),
)
def post_posts(call: Call) -> Response:
    """Upload a post as the caller; it is in every follower's feed when this returns."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and (not 1 <= len(key) <= _MAX_KEY_LENGTH or "\x00" in key):
        raise InvalidFields(
            "headers", {"Idempotency-Key": [f"Must be 1 to {_MAX_KEY_LENGTH} characters long."]}
        )
    published = publish.publish(
        call.stores, call.services.enqueue, call.account, **call.body, idempotency_key=key
    )
    call.services.metrics.posts_published.inc(not published.replayed)
    answer = Response(published.body, 201, content_type="application/json")
    answer.headers["Location"] = address(f"/v1/posts/{published.post_id}")
    if published.replayed:
        answer.headers["Idempotency-Replayed"] = "true"
    return answer


@operations.declare(
    "POST",
    "/accounts/{id}/posts",
    scopes=_FEED,
    own_account=True,
    body=PostBody(),
    headers=("Idempotency-Key",),
    answers={201: PostSchema},
    errors=(404, 409),
)
def post_account_posts(call: Call) -> Response:
    """Upload a post."""
    return post_posts(call)


@operations.declare(
    "GET", "/posts/{post_id}", scopes=_FEED, answers={200: PostSchema}, errors=(404,)
)
def get_post(call: Call) -> Response:
    """Get a post."""
    body = read.one(call.stores, call.viewer, call.path["post_id"])
    return Response(body, content_type="application/json")


@operations.declare(
    "PATCH",
    "/posts/{post_id}",
    scopes=_FEED,
    body=EditBody(),
    answers={200: PostSchema},
    errors=(404, 409),
)
def patch_post(call: Call) -> Response:
    """Change the description of a post of the caller."""
    body = edit.edit(call.stores, call.viewer, call.path["post_id"], **call.body)
    return Response(body, content_type="application/json")


@operations.declare(
    "DELETE",
    "/posts/{post_id}",
    scopes=_FEED,
    answers={204: "Gone from every feed"},
    errors=(404, 409),
)
def delete_post(call: Call) -> None:
    """Delete a post of the caller."""
    edit.delete(call.stores, call.viewer, call.path["post_id"])


@operations.declare(
    "GET",
    "/posts",
    scopes=_FEED,
    query=IdsQuery,
    answers={200: "data: the posts, in the order of the ids"},
)
def get_posts(call: Call) -> Response:
    """Get several posts, in the order of the ids; unknown posts are left out."""
    found = read.many(call.stores, call.viewer, call.query["ids"])
    return Response(b'{"data":[' + b",".join(found) + b"]}", content_type="application/json")


@operations.declare_list("/feed", PostSchema, scopes=_FEED, creates_account=False, errors=(404,))
def get_feed(call: Call) -> Response:
    """Read the caller's home feed, newest first."""
    cursor, limit = call.query["cursor"], call.query["limit"]
    try:
        page = reader.home_page(call.stores, call.account, cursor, limit)
    except (NotFound, BadCursor):
        if "feed" not in call.caller.scopes or call.account != call.caller.account:
            raise
        # The account is created only here: a read of an existing account needs no SQL.
        accounts.ensure(call.stores, call.account)
        page = reader.home_page(call.stores, call.account, cursor, limit)
    metrics, near_cache = call.services.metrics, call.stores.near_cache
    metrics.feed_pages.inc()
    if metrics.is_near_cache_due:
        metrics.copy_near_cache(near_cache.copies.counts(), near_cache.bytes_by_kind())
    return answer_posts(page, limit)


@operations.declare_list(
    "/accounts/{id}/feed",
    PostSchema,
    scopes=_FEED,
    own_account=True,
    creates_account=False,
    errors=(404,),
)
def get_account_feed(call: Call) -> Response:
    """Read the home feed of an account, newest first."""
    return get_feed(call)


@operations.declare_list("/accounts/{id}/posts", PostSchema, scopes=_FEED, errors=(404,))
def get_account_posts(call: Call) -> Response:
    """Read the posts of one account, newest first."""
    cursor, limit = call.query["cursor"], call.query["limit"]
    page = profile.profile_page(call.stores, call.viewer, call.account, cursor, limit)
    return answer_posts(page, limit)
