"""How Celery runs for this service. The broker's address comes from the settings (`feedsvc.tasks`).

Every task may run twice and may be lost: the cursor in Redis makes the first harmless, the sweep the second.
"""

# A task is acknowledged after it ran; a killed worker's task goes back to the queue.
task_acks_late = True
task_reject_on_worker_lost = True
# One at a time: a worker holds no tasks that an idle one could run.
worker_prefetch_multiplier = 1
# Nobody waits for a result.
task_ignore_result = True
task_serializer = "json"
accept_content = ["json"]
# Fan-outs of small accounts never wait behind a large one's; the sweep waits behind neither.
task_queues = None
task_default_queue = "feedsvc.fanout"
task_create_missing_queues = True
task_routes = {
    name: {"queue": "feedsvc.sweep"}
    for name in (
        "feedsvc.sweep",
        "feedsvc.audit",
        "feedsvc.guard",
        "feedsvc.planning.survey.aggregates",
    )
}
# What was not started by the time the next is due is superseded by that one.
beat_schedule = {
    "sweep": {"task": "feedsvc.sweep", "schedule": 1.0, "options": {"expires": 1.0}},
    "audit": {"task": "feedsvc.audit", "schedule": 60.0, "options": {"expires": 60.0}},
    "guard": {"task": "feedsvc.guard", "schedule": 10.0, "options": {"expires": 10.0}},
    # Does nothing while the last look is younger than ten minutes: so the first one comes soon after the start.
    "threshold inputs": {
        "task": "feedsvc.planning.survey.aggregates",
        "schedule": 20.0,
        "options": {"expires": 20.0},
    },
}
beat_max_loop_interval = 1
# A publisher whose connection is dead connects once more: without that it goes on sending into nothing, and says nothing, also when
# the broker is long back. If that fails it gives up: an upload does not wait, the sweep sends again.
task_publish_retry = True
task_publish_retry_policy = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}
broker_connection_timeout = 2
broker_connection_retry_on_startup = True
broker_transport_options = {
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    # Redis hands a lost worker's task out again after this long; the sweep is faster.
    "visibility_timeout": 300,
    "queue_order_strategy": "round_robin",
}
# What we log is a line of JSON, and stays one.
worker_hijack_root_logger = False
worker_redirect_stdouts = False
worker_cancel_long_running_tasks_on_connection_loss = True
enable_utc = True
