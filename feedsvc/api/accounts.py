"""`/v1/accounts`: accounts, follows, mutes and blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.api.answers import answer_json, answer_nothing, answer_page
from feedsvc.api.operations import Call, Operations
from feedsvc.api.schemas import AccountAnswer, FollowItem, FollowResult, FollowsAnswer
from feedsvc.errors import NotFound
from feedsvc.graph import accounts, follows, hiding
from feedsvc.graph.follows import FollowChange

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Response

    from feedsvc.graph.accounts import AccountInfo
    from feedsvc.paging import Page
    from feedsvc.store import Stores

operations = Operations("Accounts")

_FEED = ("feed", "service")
_ACCOUNT = AccountAnswer()
_DONE = {204: "Done, or done already"}


@operations.declare(
    "PUT",
    "/accounts/{id}",
    scopes=_FEED,
    own=True,
    makes_account=False,
    answers={201: AccountAnswer, 200: AccountAnswer},
    errors=(409,),
)
def put_account(call: Call) -> Response:
    """Create an account, or find it there."""
    made = accounts.create(call.services.stores, call.account)
    return answer_json(
        _ACCOUNT.dump(accounts.get(call.services.stores, call.account)), 201 if made else 200
    )


@operations.declare(
    "GET", "/accounts/{id}", scopes=_FEED, answers={200: AccountAnswer}, errors=(404,)
)
def get_account(call: Call) -> Response:
    """One account, with the route of its next post."""
    _unless_blocked(call)
    return answer_json(_ACCOUNT.dump(accounts.get(call.services.stores, call.account)))


@operations.declare(
    "DELETE",
    "/accounts/{id}",
    scopes=_FEED,
    own=True,
    makes_account=False,
    answers={202: "Out of every feed, for good"},
    errors=(404,),
)
def delete_account(call: Call) -> Response:
    """Delete an account with its posts and edges."""
    accounts.delete(call.services.stores, call.account)
    return answer_nothing(202)


@operations.declare(
    "PUT",
    "/accounts/{id}/following/{followee}",
    scopes=_FEED,
    own=True,
    answers=_DONE,
    errors=(404,),
)
def put_following(call: Call) -> Response:
    """Follow an account."""
    follows.follow(call.services.stores, call.account, call.path["followee"])
    return answer_nothing()


@operations.declare(
    "DELETE",
    "/accounts/{id}/following/{followee}",
    scopes=_FEED,
    own=True,
    answers=_DONE,
    errors=(404,),
)
def delete_following(call: Call) -> Response:
    """Unfollow an account."""
    follows.unfollow(call.services.stores, call.account, call.path["followee"])
    return answer_nothing()


@operations.declare(
    "GET",
    "/accounts/{id}/following/{followee}",
    scopes=_FEED,
    answers={204: "It does"},
    errors=(404,),
)
def get_following(call: Call) -> Response:
    """Whether an account follows another."""
    _unless_blocked(call)
    if not follows.is_following(call.services.stores, call.account, call.path["followee"]):
        raise NotFound("follow of account", call.path["followee"])
    return answer_nothing()


@operations.declare_list("/accounts/{id}/following", AccountAnswer, scopes=_FEED, errors=(404,))
def list_following(call: Call) -> Response:
    """Whom an account follows."""
    _unless_blocked(call)
    return _list(call, follows.following)


@operations.declare_list("/accounts/{id}/followers", AccountAnswer, scopes=_FEED, errors=(404,))
def list_followers(call: Call) -> Response:
    """Who follows an account."""
    _unless_blocked(call)
    return _list(call, follows.followers)


@operations.declare(
    "DELETE",
    "/accounts/{id}/followers/{follower}",
    scopes=_FEED,
    own=True,
    answers=_DONE,
    errors=(404,),
)
def delete_follower(call: Call) -> Response:
    """Make somebody stop following."""
    follows.unfollow(call.services.stores, call.path["follower"], call.account)
    return answer_nothing()


@operations.declare(
    "PUT", "/accounts/{id}/mutes/{muted}", scopes=_FEED, own=True, answers=_DONE, errors=(404,)
)
def put_mute(call: Call) -> Response:
    """Mute an account."""
    hiding.mute(call.services.stores, call.account, call.path["muted"])
    return answer_nothing()


@operations.declare(
    "DELETE", "/accounts/{id}/mutes/{muted}", scopes=_FEED, own=True, answers=_DONE, errors=(404,)
)
def delete_mute(call: Call) -> Response:
    """Unmute an account."""
    hiding.unmute(call.services.stores, call.account, call.path["muted"])
    return answer_nothing()


@operations.declare_list(
    "/accounts/{id}/mutes", AccountAnswer, scopes=_FEED, own=True, errors=(404,)
)
def list_mutes(call: Call) -> Response:
    """Whom an account has muted."""
    return _list(call, hiding.mutes)


@operations.declare(
    "PUT", "/accounts/{id}/blocks/{blocked}", scopes=_FEED, own=True, answers=_DONE, errors=(404,)
)
def put_block(call: Call) -> Response:
    """Block an account: each is hidden from the other, and the follows end."""
    hiding.block(call.services.stores, call.account, call.path["blocked"])
    return answer_nothing()


@operations.declare(
    "DELETE",
    "/accounts/{id}/blocks/{blocked}",
    scopes=_FEED,
    own=True,
    answers=_DONE,
    errors=(404,),
)
def delete_block(call: Call) -> Response:
    """Lift a block."""
    hiding.unblock(call.services.stores, call.account, call.path["blocked"])
    return answer_nothing()


@operations.declare_list(
    "/accounts/{id}/blocks", AccountAnswer, scopes=_FEED, own=True, errors=(404,)
)
def list_blocks(call: Call) -> Response:
    """Whom an account has blocked."""
    return _list(call, hiding.blocks)


@operations.declare(
    "POST",
    "/follows/batch",
    scopes=("service",),
    body=FollowItem(many=True),
    answers={200: FollowsAnswer},
)
def post_follows(call: Call) -> Response:
    """Follow and unfollow, up to 1,000 at once, with a result for each."""
    outcomes = follows.apply_batch(
        call.services.stores, [FollowChange(**item) for item in call.body]
    )
    return answer_json({"data": FollowResult().dump(outcomes, many=True)})


def _list(
    call: Call, feature: Callable[[Stores, int, str | None, int], Page[AccountInfo]]
) -> Response:
    page = feature(call.services.stores, call.account, call.query["cursor"], call.query["limit"])
    return answer_page(page, call.query["limit"], _ACCOUNT)


def _unless_blocked(call: Call) -> None:
    """To whom an account blocks, it is not there."""
    viewer = call.viewer
    if (
        viewer is not None
        and viewer != call.account
        and hiding.is_blocked_by(call.services.stores, viewer, call.account)
    ):
        raise NotFound("account", call.account)
