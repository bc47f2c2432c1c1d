"""Ask the broker for each right that the parts of the service need. Changes nothing.

RabbitMQ judges the right first. So each question is a call that RabbitMQ refuses in any case, with
another error if the user has the right. On Redis each question is a harmless call, as in
`feedsvc.store.redis.commands`.
"""

from __future__ import annotations

import re
import socket
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from amqp import AccessRefused, Message
from celery.utils.nodenames import nodename

from feedsvc.store.redis.commands import forbidden
from feedsvc.store.redis.connection_pool import ServerPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery
    from kombu import Connection, Exchange, Queue

    # A right, the name of its object, and the call that asks for the right on a channel.
    _Question = tuple[str, str, partial[None]]

# No queue, binding, consumer or user has this name.
_NOBODY = "feedsvc.check"
_DEFAULT_EXCHANGE = "amq.default"
# Workers and beat also send these commands to a Redis that is the broker. The order matters, as in
# `feedsvc.store.redis.commands`: the first call makes the key, and the last one deletes it. Nothing
# but PUNSUBSCRIBE may follow PSUBSCRIBE on a connection.
REDIS_CALLS: tuple[tuple[Any, ...], ...] = (
    ("SET", _NOBODY, 1, "EX", 10),
    ("PING",),
    ("WATCH", _NOBODY),
    ("UNWATCH",),
    ("MULTI",),
    ("EXEC",),
    ("BRPOP", _NOBODY, 0.1),
    ("EVALSHA", "0" * 40, 0),
    ("EXISTS", _NOBODY),
    ("GET", _NOBODY),
    ("HDEL", _NOBODY, "a"),
    ("HGET", _NOBODY, "a"),
    ("HSET", _NOBODY, "a", "a"),
    ("LLEN", _NOBODY),
    ("LPUSH", _NOBODY, "a"),
    ("PEXPIRE", _NOBODY, 10_000),
    ("RPUSH", _NOBODY, "a"),
    ("SADD", _NOBODY, "a"),
    ("SCRIPT", "EXISTS", "0" * 40),
    ("SCRIPT", "LOAD", "return 1"),
    ("SMEMBERS", _NOBODY),
    ("SREM", _NOBODY, "a"),
    ("TIME",),
    ("ZADD", _NOBODY, "no number", "a"),
    ("ZRANGE", _NOBODY, 0, 0),
    ("ZRANGEBYSCORE", _NOBODY, 0, 0),
    ("ZREM", _NOBODY, "a"),
    ("DEL", _NOBODY),
)
_REDIS_LOGIN = ("host", "port", "path", "db", "username", "password")
_REDIS_KEYS = ("_kombu.binding.", "unacked", "unacked_index", "unacked_mutex")


def lacking(celery: Celery, connection: Connection) -> str:
    """Return the rights that the user of a connection lacks, in words. Empty if it lacks none.

    Raises the error of the broker's client if the broker fails meanwhile.
    """
    if connection.transport.driver_type == "redis":
        with connection.channel() as channel:
            return _lacking_on_redis(celery, channel)
    if connection.transport.driver_type == "amqp":
        return _lacking_on_rabbitmq(celery, connection)
    return ""


def _lacking_on_redis(celery: Celery, channel: Any) -> str:
    """Log in like the channel, and ask for the commands, the keys and a channel of Pub/Sub."""
    pool = channel.client.connection_pool
    login = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if name in _REDIS_LOGIN or name.startswith(("ssl_", "socket_"))
    }
    # In the newer protocol a subscription has no answer.
    options = {"connection_class": pool.connection_class, "protocol": 2, **login}
    node = redis.Redis.from_pool(ServerPool(**options))
    topic = f"{channel.keyprefix_fanout}{_mailbox(celery).exchange.name}.{_NOBODY}"
    names = [*_REDIS_KEYS, *celery.amqp.queues]
    calls = [
        *REDIS_CALLS,
        *(("HDEL", name, _NOBODY) for name in names),  # nothing has this field
        ("PUBLISH", topic, ""),
        ("PSUBSCRIBE", topic),
        ("PUNSUBSCRIBE", topic),
    ]
    with closing(node):
        return ", ".join(forbidden(node, calls))


def _lacking_on_rabbitmq(celery: Celery, connection: Connection) -> str:
    lacking: dict[str, set[str]] = {"configure": set(), "write": set(), "read": set()}
    for right, name, ask in _questions(celery):
        # An error closes the channel.
        with connection.channel() as channel:
            try:
                ask(channel)
            except AccessRefused as error:
                exchange = re.search(r"exchange '([^']+)'", str(error))
                if ask.func is _unbind and exchange:  # a binding needs a right on both its ends
                    lacking["read"].add(exchange[1])
                else:
                    lacking[right].add(name)
            except connection.channel_errors:
                pass
    return "; ".join(
        f"{right} on {', '.join(sorted(names))}" for right, names in lacking.items() if names
    )


def _questions(celery: Celery) -> Iterator[_Question]:
    """Yield a question for each right on each exchange and queue that the parts use."""
    mailbox = _mailbox(celery)
    node = nodename("worker-1", socket.gethostname())
    queues = {queue.name: queue for queue in celery.amqp.queues.values()}
    queues[f"*.{mailbox.exchange.name}"] = mailbox.get_queue(node)
    queues[f"*.{mailbox.reply_exchange.name}"] = mailbox.get_reply_queue()
    for exchange in {queue.exchange.name: queue.exchange for queue in queues.values()}.values():
        yield "configure", exchange.name, partial(_declare_exchange, exchange)
    for name, queue in queues.items():
        yield "configure", name, partial(_declare_queue, queue)
        yield "read", name, partial(_consume, queue)
        yield "write", name, partial(_unbind, queue)
    for name in (mailbox.exchange.name, mailbox.reply_exchange.name):
        yield "write", name, partial(_publish, name)
    yield "write", _DEFAULT_EXCHANGE, partial(_publish, "")


def _mailbox(celery: Celery) -> Any:
    """Return the names for remote control. The types of Celery lack the attribute."""
    return celery.control.mailbox  # type: ignore[attr-defined]


def _declare_exchange(exchange: Exchange, channel: Any) -> None:
    arguments = {"alternate-exchange": 0}  # it must be a name
    channel.exchange_declare(exchange.name, exchange.type, auto_delete=False, arguments=arguments)


def _declare_queue(queue: Queue, channel: Any) -> None:
    channel.queue_declare(queue.name, auto_delete=False, arguments={"x-expires": "no number"})


def _consume(queue: Queue, channel: Any) -> None:
    channel.basic_consume(queue.name, arguments={"x-priority": "no number"})


def _unbind(queue: Queue, channel: Any) -> None:
    channel.queue_unbind(queue.name, queue.exchange.name, routing_key=_NOBODY)


def _publish(exchange: str, channel: Any) -> None:
    """Publish in the name of another user. The next call waits for the refusal."""
    channel.basic_publish(Message("", user_id=_NOBODY), exchange, routing_key=_NOBODY)
    channel.basic_qos(0, 1, False)
