"""`/v1/posts` and the lists of posts: uploads, single posts, profiles and home feeds."""

from __future__ import annotations

from flask import Response, request, url_for

from feedsvc.api.answers import answer_nothing, answer_posts
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
_LONGEST_KEY = 255


def _publish(call: Call) -> Response:
    published = publish.publish(
        call.services.stores,
        call.services.enqueue,
        call.account,
        **call.body,
        idempotency_key=_idempotency_key(),
    )
    call.services.metrics.posts_published.inc(not published.replayed)
    answer = Response(published.body, 201, content_type="application/json")
    answer.headers["Location"] = url_for("get_post", post_id=published.post_id)
    if published.replayed:
        answer.headers["Idempotency-Replayed"] = "true"
    return answer


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and (not 1 <= len(key) <= _LONGEST_KEY or "\x00" in key):
        raise InvalidFields(
            "headers", {"Idempotency-Key": [f"Must be 1 to {_LONGEST_KEY} characters long."]}
        )
    return key


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
    """Upload a post as oneself; it is in every follower's feed when this returns."""
    return _publish(call)


@operations.declare(
    "POST",
    "/accounts/{id}/posts",
    scopes=_FEED,
    own=True,
    body=PostBody(),
    headers=("Idempotency-Key",),
    answers={201: PostSchema},
    errors=(404, 409),
)
def post_account_posts(call: Call) -> Response:
    """Upload a post."""
    return _publish(call)


@operations.declare(
    "GET", "/posts/{post_id}", scopes=_FEED, answers={200: PostSchema}, errors=(404,)
)
def get_post(call: Call) -> Response:
    """One post."""
    return Response(
        read.one(call.services.stores, call.viewer, call.path["post_id"]),
        content_type="application/json",
    )


@operations.declare(
    "PATCH",
    "/posts/{post_id}",
    scopes=_FEED,
    body=EditBody(),
    answers={200: PostSchema},
    errors=(404,),
)
def patch_post(call: Call) -> Response:
    """Change the description of one's own post."""
    body = edit.edit(call.services.stores, _actor(call), call.path["post_id"], **call.body)
    return Response(body, content_type="application/json")


@operations.declare(
    "DELETE", "/posts/{post_id}", scopes=_FEED, answers={204: "Gone from every feed"}, errors=(404,)
)
def delete_post(call: Call) -> Response:
    """Delete one's own post."""
    edit.delete(call.services.stores, _actor(call), call.path["post_id"])
    return answer_nothing()


@operations.declare(
    "GET",
    "/posts",
    scopes=_FEED,
    query=IdsQuery,
    answers={200: "data: the posts, in the order asked"},
)
def get_posts(call: Call) -> Response:
    """Several posts, in the order asked; unknown ones are left out."""
    found = read.many(call.services.stores, call.viewer, call.query["ids"])
    return Response(b'{"data":[' + b",".join(found) + b"]}", content_type="application/json")


@operations.declare_list("/feed", PostSchema, scopes=_FEED, makes_account=False, errors=(404,))
def get_feed(call: Call) -> Response:
    """One's own home feed, newest first."""
    return _home(call)


@operations.declare_list(
    "/accounts/{id}/feed", PostSchema, scopes=_FEED, own=True, makes_account=False, errors=(404,)
)
def get_account_feed(call: Call) -> Response:
    """The home feed of an account, newest first."""
    return _home(call)


@operations.declare_list("/accounts/{id}/posts", PostSchema, scopes=_FEED, errors=(404,))
def get_account_posts(call: Call) -> Response:
    """The posts of one account, newest first."""
    limit = call.query["limit"]
    return answer_posts(
        profile.profile_page(
            call.services.stores, call.viewer, call.account, call.query["cursor"], limit
        ),
        limit,
    )


def _home(call: Call) -> Response:
    stores, cursor, limit = call.services.stores, call.query["cursor"], call.query["limit"]
    try:
        page = reader.home_page(stores, call.account, cursor, limit)
    except (NotFound, BadCursor):
        if "feed" not in call.caller.scopes or call.account != call.caller.account:
            raise
        accounts.ensure(
            stores, call.account
        )  # not before the read: a read that finds its account makes no SQL
        page = reader.home_page(stores, call.account, cursor, limit)
    call.services.metrics.feed_pages.inc()
    return answer_posts(page, limit)


def _actor(call: Call) -> int | None:
    """Whose post it must be; the app's backend may change anybody's."""
    return None if call.caller.acts_for_anyone else call.caller.account
