"""Clients: threads that post, follow, mute, block and read over HTTP, at random from a seed.

A client repeats a request until it has an answer that counts.
"""

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

# Answers after which a client repeats its request.
_REPEATED = {409, 429, 500, 502, 503, 504}
# Longer than any fault lasts.
_GIVE_UP_SECONDS = 90


class Failed(AssertionError):
    """A wrong answer, or a wrong feed, that no fault excuses."""


class Client(threading.Thread):
    def __init__(self, number, seed, port, history, shared):
        super().__init__(name=f"client-{number}", daemon=True)
        self.dice, self.port, self.history, self.shared = (
            random.Random(f"{seed}/{number}"),
            port,
            history,
            shared,
        )
        self.number, self.uploads, self.counts, self.repeats = number, 0, Counter(), Counter()
        self.connection, self.error = None, None

    def run(self):
        try:
            while not self.shared.stop.is_set():
                [kind] = self.dice.choices(list(KINDS), KINDS.values())
                getattr(self, kind)()
                self.counts[kind] += 1
        except BaseException as error:  # noqa: BLE001 -- the main thread raises it
            self.error = error
            self.shared.stop.set()

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def post(self, author=None):
        author = author or self.dice.choice(ACCOUNTS)
        self.uploads += 1
        text = f"number {self.uploads} of client {self.number}"
        span = self.history.begin()
        body = {"photo_url": "https://img.example/1.jpg", "description": text}
        headers = {"Idempotency-Key": f"{self.number}-{self.uploads}"}
        post = self.ask("POST", "/v1/posts", author, {201}, body=body, headers=headers)
        self.history.uploaded(author, int(post["id"]), span)
        self.history.end(span)
        self.shared.add_post(author, int(post["id"]))

    def delete(self):
        author = self.dice.choice(ACCOUNTS)
        post = self.shared.take_post(author, self.dice)
        if post is None:
            return
        span = self.history.begin()
        self.history.deleting(post, span)
        self.ask("DELETE", f"/v1/posts/{post}", author, {204})
        self.history.deleted(post)
        self.history.end(span)

    def relate(self):
        account, other = self.dice.sample(ACCOUNTS, 2)
        [kind] = self.dice.choices(list(RELATIONS), RELATIONS.values())
        with self.shared.pairs[frozenset((account, other))]:
            span = self.history.begin()
            self.history.changing(kind, account, other, span)
            method = "DELETE" if kind.startswith("un") else "PUT"
            answer = self.ask(
                method, f"/v1/accounts/me/{PATHS[kind]}/{other}", account, {204, 403, 404}
            )
            if answer is None:
                self.history.changed(kind, account, other)
            else:
                self.history.refused(account, other)
            self.history.end(span)

    def threshold(self):
        demote_at = self.dice.randrange(3, 20)
        body = {
            "promote_at": demote_at + self.dice.randrange(4),
            "demote_at": demote_at,
            "rollout_percent": 100,
            "reason": "chaos",
        }
        about = {"scope": "admin:write", "body": body, "headers": {"If-Match": "*"}}
        self.ask("PUT", "/v1/admin/threshold", 1, {200}, **about)

    def read(self):
        self.page(self.dice.choice(ACCOUNTS), self.dice.choice([5, 20, 100]), None, NEVER)

    def walk(self, viewer=None, limit=None):
        """Read page by page to the oldest post; return the ids."""
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
        answer, span = self.ask("GET", path, viewer, {200}, timed=True)
        ids, following = [int(post["id"]) for post in answer["data"]], answer["page"]["next_cursor"]
        self.history.add_page(Page(viewer, above, limit, ids, following is None, span))
        return ids, following

    def ask(
        self, method, path, account, expected, *, scope="feed", body=None, headers=None, timed=False
    ):
        """Repeat a request until it has an answer that counts; return its JSON, None for 204.

        `timed`: return the JSON and the span of the last attempt.
        """
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            span = self.history.begin() if timed else None
            try:
                status, text = self._once(method, path, account, scope, body, headers or {})
            except (OSError, http.client.HTTPException) as error:
                status, text = 0, repr(error)
                self.close()
            if span:
                self.history.end(span)
            if status in expected:
                parsed = json.loads(text) if status != 204 else None
                return (parsed, span) if timed else parsed
            self.repeats[status or "no answer"] += 1
            if status not in _REPEATED | {0}:
                raise Failed(f"{method} {path} by {account}: {status} {text}")
            if time.monotonic() > deadline:
                raise Failed(
                    f"{method} {path} by {account}: no answer that counts "
                    f"for {_GIVE_UP_SECONDS} s; the last was {status} {text}"
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
    """The state that clients share.

    It holds a stop event, tokens, a lock for each pair of accounts, and the posts that a client may
    delete.
    """

    def __init__(self):
        self.stop, self.pairs = threading.Event(), defaultdict(threading.Lock)
        self._tokens, self._posts, self._lock = {}, defaultdict(list), threading.Lock()

    def token(self, account, scope):
        if (account, scope) not in self._tokens:
            claims = {"sub": str(account), "scope": scope, "exp": int(time.time()) + 36_000}
            self._tokens[account, scope] = jwt.encode(claims, SECRET, "HS256")
        return self._tokens[account, scope]

    def add_post(self, author, post):
        with self._lock:
            self._posts[author].append(post)

    def take_post(self, author, dice):
        """Return a post of the author that no other client will delete; None without posts."""
        with self._lock:
            posts = self._posts[author]
            return posts.pop(dice.randrange(len(posts))) if posts else None
