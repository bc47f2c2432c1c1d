"""The settings of Celery. `feedsvc.tasks` adds the URL of the broker.

Every task may run twice and may be lost. The cursor in Redis makes a repeat harmless, and the sweep
sends a lost task again.
"""

from kombu import Exchange, Queue

from feedsvc.fanout.queues import FANOUT_QUEUE, QUEUES, SWEEP_QUEUE

# A task is acknowledged after it ran. The task of a killed worker goes back to the queue.
task_acks_late = True
task_reject_on_worker_lost = True
# A worker takes one task at a time, so that it does not hold tasks that an idle worker could run.
worker_prefetch_multiplier = 1
# No caller waits for a result.
task_ignore_result = True
task_serializer = "json"
accept_content = ["json"]
# A small account's fan-out never waits behind a large one's. The sweep never waits behind a
# fan-out. A worker without `-Q` consumes all of these queues.
task_queues = tuple(Queue(name, Exchange(name), routing_key=name) for name in QUEUES)
worker_consumer = "feedsvc.fanout.consumer:Consumer"
task_default_queue = FANOUT_QUEUE
task_routes = {
    name: {"queue": SWEEP_QUEUE}
    for name in (
        "feedsvc.sweep",
        "feedsvc.audit",
        "feedsvc.guard",
        "feedsvc.threshold.inputs",
    )
}
# Tasks have no `expires`, because workers would compare it with the clock of another host. Instead,
# the scheduler limits the number of waiting messages.
beat_scheduler = "feedsvc.fanout.beat:MonotonicScheduler"
beat_schedule = {
    "sweep": {"task": "feedsvc.sweep", "schedule": 1.0},
    "audit": {"task": "feedsvc.audit", "schedule": 60.0},
    "guard": {"task": "feedsvc.guard", "schedule": 10.0},
    # Does nothing while the last survey is younger than ten minutes. So the first survey comes soon
    # after the start.
    "threshold inputs": {"task": "feedsvc.threshold.inputs", "schedule": 20.0},
}
beat_max_loop_interval = 1
# A publisher whose connection is dead connects once more. Without this it would go on sending into
# the dead connection without an error, even after the broker is back. If the second try fails it
# gives up: an upload does not wait, and the sweep sends the message again.
task_publish_retry = True
task_publish_retry_policy = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}
broker_connection_timeout = 2
# Workers and beat connect again until the broker is back, however long that takes.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_transport_options = {
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    # Redis hands out the task of a lost worker again after this many seconds. The sweep is faster.
    "visibility_timeout": 300,
    "queue_order_strategy": "round_robin",
}
# Log lines are JSON: Celery must not reformat them.
worker_hijack_root_logger = False
worker_redirect_stdouts = False
worker_cancel_long_running_tasks_on_connection_loss = True
