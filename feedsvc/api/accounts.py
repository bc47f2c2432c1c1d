"""`/v1/accounts`: accounts, follows, mutes and blocks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from feedsvc.api.answers import answer_json, answer_page
from feedsvc.api.operations import Call, Operations
from feedsvc.api.schemas import AccountAnswer, FollowItem, FollowResult, FollowsAnswer
from feedsvc.errors import NotFound
from feedsvc.graph import accounts, deletion, follows, hiding
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

_declare_change = partial(
    operations.declare,
    scopes=_FEED,
    own_account=True,
    answers={204: "Done, or done already"},
    errors=(404, 409),
)
_declare_accounts = partial(operations.declare_list, of=AccountAnswer, scopes=_FEED, errors=(404,))


@operations.declare(
    "PUT",
    "/accounts/{id}",
    scopes=_FEED,
    own_account=True,
    creates_account=False,
    answers={201: AccountAnswer, 200: AccountAnswer},
    errors=(409,),
)
def put_account(call: Call) -> Response:
    """Create an account, or confirm that it exists."""
    created = accounts.create(call.stores, call.account)
    return _account(call, 201 if created else 200)


@operations.declare(
    "GET", "/accounts/{id}", scopes=_FEED, answers={200: AccountAnswer}, errors=(404,)
)
def get_account(call: Call) -> Response:
    """Get an account, with the route of its next post."""
    _require_visible(call)
    return _account(call)


@operations.declare(
    "DELETE",
    "/accounts/{id}",
    scopes=_FEED,
    own_account=True,
    creates_account=False,
    answers={202: "The posts are out of every feed. The removal continues in the background"},
    errors=(404,),
)
def delete_account(call: Call) -> None:
    """Delete an account with its posts and follows."""
    deletion.delete(call.stores, call.account)


@_declare_change("PUT", "/accounts/{id}/following/{followee}")
def put_following(call: Call) -> None:
    """Follow an account. The answer is 404 if that account blocks the caller."""
    follows.follow(call.stores, call.account, call.path["followee"])


@_declare_change("DELETE", "/accounts/{id}/following/{followee}")
def delete_following(call: Call) -> None:
    """Unfollow an account."""
    _require_visible(call, call.path["followee"])
    follows.unfollow(call.stores, call.account, call.path["followee"])


@operations.declare(
    "GET",
    "/accounts/{id}/following/{followee}",
    scopes=_FEED,
    answers={204: "The account follows the other one"},
    errors=(404,),
)
def get_following(call: Call) -> None:
    """Check whether an account follows another."""
    _require_visible(call)
    if not follows.is_following(call.stores, call.account, call.path["followee"]):
        raise NotFound("follow of account", call.path["followee"])


@_declare_accounts("/accounts/{id}/following")
def list_following(call: Call) -> Response:
    """List the accounts that an account follows."""
    _require_visible(call)
    return _list(call, follows.following)


@_declare_accounts("/accounts/{id}/followers")
def list_followers(call: Call) -> Response:
    """List the followers of an account."""
    _require_visible(call)
    return _list(call, follows.followers)


@_declare_change("DELETE", "/accounts/{id}/followers/{follower}")
def delete_follower(call: Call) -> None:
    """Remove a follower."""
    follows.unfollow(call.stores, call.path["follower"], call.account)


@_declare_change("PUT", "/accounts/{id}/mutes/{muted}")
def put_mute(call: Call) -> None:
    """Mute an account."""
    hiding.mute(call.stores, call.account, call.path["muted"])


@_declare_change("DELETE", "/accounts/{id}/mutes/{muted}")
def delete_mute(call: Call) -> None:
    """Unmute an account."""
    hiding.unmute(call.stores, call.account, call.path["muted"])


@_declare_accounts("/accounts/{id}/mutes", own_account=True)
def list_mutes(call: Call) -> Response:
    """List the accounts that an account has muted."""
    return _list(call, hiding.mutes)


@_declare_change("PUT", "/accounts/{id}/blocks/{blocked}")
def put_block(call: Call) -> None:
    """Block an account: hide each from the other, and end the follows between them."""
    hiding.block(call.stores, call.account, call.path["blocked"])


@_declare_change("DELETE", "/accounts/{id}/blocks/{blocked}")
def delete_block(call: Call) -> None:
    """Unblock an account."""
    hiding.unblock(call.stores, call.account, call.path["blocked"])


@_declare_accounts("/accounts/{id}/blocks", own_account=True)
def list_blocks(call: Call) -> Response:
    """List the accounts that an account has blocked."""
    return _list(call, hiding.blocks)


@operations.declare(
    "POST",
    "/follows/batch",
    scopes=("service",),
    body=FollowItem(many=True),
    answers={200: FollowsAnswer},
)
def post_follows(call: Call) -> Response:
    """Apply up to 1,000 follows and unfollows, with a result for each."""
    outcomes = follows.apply_batch(call.stores, [FollowChange(**item) for item in call.body])
    return answer_json({"data": FollowResult().dump(outcomes, many=True)})


def _account(call: Call, status: int = 200) -> Response:
    return answer_json(_ACCOUNT.dump(accounts.get(call.stores, call.account)), status)


def _list(
    call: Call, feature: Callable[[Stores, int, str | None, int, int | None], Page[AccountInfo]]
) -> Response:
    page = feature(
        call.stores, call.account, call.query["cursor"], call.query["limit"], call.viewer
    )
    return answer_page(page, call.query["limit"], _ACCOUNT)


def _require_visible(call: Call, account: int | None = None) -> None:
    """Raise `NotFound` if an account, by default the account of the path, blocks the viewer."""
    account, viewer = account or call.account, call.viewer
    if viewer in {None, account}:
        return
    with call.stores.sql.reading() as connection:
        if hiding.is_blocked_by(connection, viewer, account):
            raise NotFound("account", account)
