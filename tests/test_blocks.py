"""A block hides each account from the other, in every operation of the OpenAPI document."""

from __future__ import annotations

import pytest

BLOCKER, BLOCKED, THIRD, UNKNOWN = 101, 102, 103, 104
HIDDEN = {"follower_count": None, "following_count": None, "route": None}

# What the blocked account gets where it names the account that blocks it, or a post of it, as the
# first, or else the second id of the path. A 404 has the words that an unknown id gets.
NAMES_THE_BLOCKER = {
    "GET /v1/accounts/{id}": 404,
    "GET /v1/accounts/{id}/posts": 404,
    "GET /v1/accounts/{id}/following": 404,
    "GET /v1/accounts/{id}/followers": 404,
    "PUT /v1/accounts/{id}/following/{followee}": 404,
    "DELETE /v1/accounts/{id}/following/{followee}": 404,
    "GET /v1/accounts/{id}/following/{followee}": 404,
    "DELETE /v1/accounts/{id}/followers/{follower}": 204,
    "PUT /v1/accounts/{id}/mutes/{muted}": 204,
    "DELETE /v1/accounts/{id}/mutes/{muted}": 204,
    "PUT /v1/accounts/{id}/blocks/{blocked}": 204,
    "DELETE /v1/accounts/{id}/blocks/{blocked}": 204,
    "GET /v1/posts/{post_id}": 404,
    "PATCH /v1/posts/{post_id}": 404,
    "DELETE /v1/posts/{post_id}": 404,
}
# Lists of posts that leave out the other account's, with the path to ask.
LISTS_OF_POSTS = {
    "GET /v1/posts": "/v1/posts?ids={post}",
    "GET /v1/feed": "/v1/feed",
    "GET /v1/accounts/{id}/feed": "/v1/accounts/me/feed",
}
# Lists of accounts in which the other account stands without counts, with the path to ask.
LISTS_OF_ACCOUNTS = {
    "GET /v1/accounts/{id}/following": f"/v1/accounts/{THIRD}/following",
    "GET /v1/accounts/{id}/followers": f"/v1/accounts/{THIRD}/followers",
    "GET /v1/accounts/{id}/mutes": "/v1/accounts/me/mutes",
    "GET /v1/accounts/{id}/blocks": "/v1/accounts/me/blocks",
}
# Operations that show the caller nothing of another account.
OWN_ONLY = {
    "PUT /v1/accounts/{id}",
    "DELETE /v1/accounts/{id}",
    "POST /v1/posts",
    "POST /v1/accounts/{id}/posts",
}
# Operations of the app's backend and of operators, who see everything.
BACKEND_ONLY = ("POST /v1/follows/batch", " /v1/admin/")


@pytest.fixture
def operations(client):
    document = client.get("/openapi.json").json
    return {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith("/v1/") and method != "parameters"
    }


@pytest.fixture
def block(client, auth):
    """BLOCKER blocks BLOCKED. Both follow THIRD and are followed by it. Returns a post of each."""
    backend = auth(1, "service")
    for account in (BLOCKER, BLOCKED, THIRD):
        client.put(f"/v1/accounts/{account}", headers=backend)
    for account in (BLOCKER, BLOCKED):
        client.put(f"/v1/accounts/{account}/following/{THIRD}", headers=backend)
        client.put(f"/v1/accounts/{THIRD}/following/{account}", headers=backend)
    client.put(f"/v1/accounts/me/following/{BLOCKER}", headers=auth(BLOCKED))
    client.put(f"/v1/accounts/me/following/{BLOCKED}", headers=auth(BLOCKER))
    body = {"photo_url": "https://img.example/1.jpg"}
    posts = {
        account: client.post("/v1/posts", json=body, headers=auth(account)).json["id"]
        for account in (BLOCKER, BLOCKED)
    }
    for account in (BLOCKER, BLOCKED):
        assert len(client.get("/v1/feed", headers=auth(account)).json["data"]) == 2
    client.put(f"/v1/accounts/me/blocks/{BLOCKED}", headers=auth(BLOCKER))
    return posts


def test_every_operation_is_judged(operations):
    judged = {*NAMES_THE_BLOCKER, *LISTS_OF_POSTS, *LISTS_OF_ACCOUNTS, *OWN_ONLY}
    backend = {each for each in operations if any(part in each for part in BACKEND_ONLY)}
    assert judged | backend == operations
    assert not judged & backend


@pytest.mark.parametrize("operation", NAMES_THE_BLOCKER)
def test_the_blocked_account_learns_nothing_of_the_blocker(client, auth, block, operation):
    status = NAMES_THE_BLOCKER[operation]
    answer = ask(client, auth, operation, BLOCKER, block[BLOCKER])
    assert answer.status_code == status
    if status == 404:
        unknown = ask(client, auth, operation, UNKNOWN, 77)
        assert (unknown.status_code, unknown.json["title"]) == (404, answer.json["title"])
        detail = answer.json["detail"].replace(str(BLOCKER), "?").replace(block[BLOCKER], "?")
        assert unknown.json["detail"].replace(str(UNKNOWN), "?").replace("77", "?") == detail


@pytest.mark.parametrize("operation", LISTS_OF_POSTS)
@pytest.mark.parametrize(("viewer", "other"), [(BLOCKED, BLOCKER), (BLOCKER, BLOCKED)])
def test_a_list_of_posts_has_none_of_the_other_account(
    client, auth, block, operation, viewer, other
):
    path = LISTS_OF_POSTS[operation].format(post=block[other])
    posts = client.get(path, headers=auth(viewer)).json["data"]
    if operation == "GET /v1/posts" and viewer == BLOCKER:
        # The blocker may read a post of the account that it blocks, if it names the post.
        assert [post["id"] for post in posts] == [block[other]]
    else:
        assert str(other) not in {post["author_id"] for post in posts}


@pytest.mark.parametrize("operation", LISTS_OF_ACCOUNTS)
@pytest.mark.parametrize(("viewer", "other"), [(BLOCKED, BLOCKER), (BLOCKER, BLOCKED)])
def test_in_a_list_the_other_account_stands_without_counts(
    client, auth, block, operation, viewer, other
):
    for kind in ("mutes", "blocks"):
        client.put(f"/v1/accounts/me/{kind}/{other}", headers=auth(viewer))
    path = LISTS_OF_ACCOUNTS[operation]
    shown = {each["id"]: each for each in client.get(path, headers=auth(viewer)).json["data"]}
    assert shown[str(other)] == {"id": str(other), **HIDDEN}
    if str(THIRD) in path:
        assert shown[str(viewer)]["follower_count"] == 1
        for everybody in (auth(THIRD), auth(1, "service")):
            entries = client.get(path, headers=everybody).json["data"]
            assert all(entry["route"] == "push" for entry in entries)


def test_an_unblocked_account_is_shown_again(client, auth, block):
    client.delete(f"/v1/accounts/me/blocks/{BLOCKED}", headers=auth(BLOCKER))
    path = f"/v1/accounts/{BLOCKER}"
    assert client.get(path, headers=auth(BLOCKED)).json["follower_count"] == 1
    assert (
        client.put(f"/v1/accounts/me/following/{BLOCKER}", headers=auth(BLOCKED)).status_code == 204
    )


def test_the_blocker_is_told_that_it_blocks(client, auth, block):
    answer = client.put(f"/v1/accounts/me/following/{BLOCKED}", headers=auth(BLOCKER))
    assert answer.status_code == 403
    client.put(f"/v1/accounts/me/blocks/{BLOCKER}", headers=auth(BLOCKED))
    answer = client.put(f"/v1/accounts/me/following/{BLOCKED}", headers=auth(BLOCKER))
    assert answer.status_code == 404, "each blocks the other, so each is hidden from the other"


def ask(client, auth, operation, account, post):
    """Send the operation as the blocked account, about another account or a post."""
    method, path = operation.split()
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    about_oneself = len(names) == 2 and not operation.startswith("GET")
    ids = dict.fromkeys(names, account) | {"post_id": post}
    if about_oneself:
        ids["id"] = "me"
    body = {"json": {"description": "x"}} if method == "PATCH" else {}
    return client.open(path.format(**ids), method=method, headers=auth(BLOCKED), **body)
