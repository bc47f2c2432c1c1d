"""Clients: threads that post, relate and read over HTTP, at random from a seed, and ask again until they are answered."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter, defaultdict
from urllib.parse import quote

import jwt

from tests.chaos.deployment import SECRET
from tests.chaos.history import NEVER, Page

ACCOUNTS = [2**62 + number for number in range(40)]
PATHS = {
    "follow": "following",
    "unfollow": "following",
    "mute": "mutes",
    "unmute": "mutes",
    "block": "blocks",
    "unblock": "blocks",
}
KINDS = {"read": 40, "walk": 2, "post": 22, "delete": 3, "relate": 14, "threshold": 1}
RELATIONS = {"follow": 10, "unfollow": 4, "mute": 1, "unmute": 2, "block": 1, "unblock": 2}

# An answer that means: ask again.
_AGAIN = {409, 429, 500, 502, 503, 504}
# Longer than any fault lasts.
_GIVE_UP_SECONDS = 90


class Failed(AssertionError):
    """An answer that nothing excuses."""


class Client(threading.Thread):
    def __init__(self, number, seed, port, history, shared):
        super().__init__(name=f"client-{number}", daemon=True)
        self.dice, self.port, self.history, self.shared = (
            random.Random(f"{seed}/{number}"),
            port,
            history,
            shared,
        )
        self.number, self.uploads, self.counts, self.trouble = number, 0, Counter(), Counter()
        self.connection, self.error = None, None

    def run(self):
        try:
            while not self.shared.stop.is_set():
                [kind] = self.dice.choices(list(KINDS), KINDS.values())
                getattr(self, kind)()
                self.counts[kind] += 1
        except BaseException as error:  # noqa: BLE001 -- reported by whoever started us
            self.error = error
            self.shared.stop.set()

    def hang_up(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def post(self, author=None):
        author = author or self.dice.choice(ACCOUNTS)
        self.uploads += 1
        key, text = (
            f"{self.number}-{self.uploads}",
            f"number {self.uploads} of client {self.number}",
        )
        stretch = self.history.begin()
        body = {"photo_url": "https://img.example/1.jpg", "description": text}
        made = self.ask(
            "POST", "/v1/posts", author, {201}, body=body, headers={"Idempotency-Key": key}
        )
        self.history.uploaded(author, int(made["id"]), stretch)
        self.history.end(stretch)
        self.shared.mine(author, int(made["id"]))

    def delete(self):
        author = self.dice.choice(ACCOUNTS)
        post = self.shared.take(author, self.dice)
        if post is None:
            return
        stretch = self.history.begin()
        self.history.deleting(post, stretch)
        self.ask("DELETE", f"/v1/posts/{post}", author, {204})
        self.history.deleted(post)
        self.history.end(stretch)

    def relate(self):
        account, other = self.dice.sample(ACCOUNTS, 2)
        [kind] = self.dice.choices(list(RELATIONS), RELATIONS.values())
        with self.shared.pairs[frozenset((account, other))]:
            stretch = self.history.begin()
            self.history.changing(kind, account, other, stretch)
            method = "DELETE" if kind.startswith("un") else "PUT"
            answer = self.ask(method, f"/v1/accounts/me/{PATHS[kind]}/{other}", account, {204, 403})
            if answer is None:
                self.history.changed(kind, account, other)
            else:
                self.history.refused(account, other)
            self.history.end(stretch)

    def threshold(self):
        line = self.dice.randrange(3, 20)
        body = {
            "promote_at": line + self.dice.randrange(4),
            "demote_at": line,
            "rollout_percent": 100,
            "reason": "chaos",
        }
        self.ask(
            "PUT",
            "/v1/admin/threshold",
            1,
            {200},
            scope="admin:write",
            body=body,
            headers={"If-Match": "*"},
        )

    def read(self):
        self.page(self.dice.choice(ACCOUNTS), self.dice.choice([5, 20, 100]), None, NEVER)

    def walk(self, viewer=None, limit=None):
        """Page by page to the very first post; returns the ids."""
        viewer, limit = viewer or self.dice.choice(ACCOUNTS), limit or self.dice.choice([7, 50])
        whole, seen, cursor, above = self.history.begin(), [], None, NEVER
        while True:
            ids, cursor = self.page(viewer, limit, cursor, above)
            seen += ids
            if cursor is None:
                break
            above = ids[-1]
        self.history.end(whole)
        if len(seen) != len(set(seen)):
            raise Failed(f"a walk of {viewer} shows a post twice")
        missing = self.history.must_show(viewer, whole) - set(seen)
        if missing:
            raise Failed(f"a walk of {viewer} misses {sorted(missing)}")
        return seen

    def page(self, viewer, limit, cursor, above):
        path = f"/v1/feed?limit={limit}" + (f"&cursor={quote(cursor)}" if cursor else "")
        answer, stretch = self.ask("GET", path, viewer, {200}, timed=True)
        ids, following = [int(post["id"]) for post in answer["data"]], answer["page"]["next_cursor"]
        self.history.read(Page(viewer, above, limit, ids, following is None, stretch))
        return ids, following

    def ask(
        self, method, path, account, expected, *, scope="feed", body=None, headers=None, timed=False
    ):
        """Ask until there is an answer that counts; returns its JSON, None for 204, and with `timed` when the last try was."""
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            stretch = self.history.begin() if timed else None
            try:
                status, text = self._once(method, path, account, scope, body, headers or {})
            except (OSError, http.client.HTTPException) as error:
                status, text = 0, repr(error)
                self.hang_up()
            if stretch:
                self.history.end(stretch)
            if status in expected:
                parsed = json.loads(text) if status != 204 else None
                return (parsed, stretch) if timed else parsed
            self.trouble[status or "no answer"] += 1
            if status not in _AGAIN | {0}:
                raise Failed(f"{method} {path} by {account}: {status} {text}")
            if time.monotonic() > deadline:
                raise Failed(
                    f"{method} {path} by {account}: no answer that counts for {_GIVE_UP_SECONDS} s, at last {status} {text}"
                )
            time.sleep(0.05)

    def _once(self, method, path, account, scope, body, headers):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {**headers, "Authorization": f"Bearer {self.shared.token(account, scope)}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.connection.request(
            method, path, json.dumps(body) if body is not None else None, headers
        )
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()


class Shared:
    """What the clients share: the word to stop, tokens, a lock for each pair of accounts, posts that may be deleted."""

    def __init__(self):
        self.stop, self.pairs = threading.Event(), defaultdict(threading.Lock)
        self._tokens, self._posts, self._lock = {}, defaultdict(list), threading.Lock()

    def token(self, account, scope):
        if (account, scope) not in self._tokens:
            claims = {"sub": str(account), "scope": scope, "exp": int(time.time()) + 36_000}
            self._tokens[account, scope] = jwt.encode(claims, SECRET, "HS256")
        return self._tokens[account, scope]

    def mine(self, author, post):
        with self._lock:
            self._posts[author].append(post)

    def take(self, author, dice):
        """A post of the author that nobody else will delete."""
        with self._lock:
            posts = self._posts[author]
            return posts.pop(dice.randrange(len(posts))) if posts else None
