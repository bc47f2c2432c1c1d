"""How Celery runs for this service. The broker's address comes from the settings (`feedsvc.worker`).

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
task_routes = {"feedsvc.sweep": {"queue": "feedsvc.sweep"}}
# A sweep that was not started within its second is superseded by the next.
beat_schedule = {"sweep": {"task": "feedsvc.sweep", "schedule": 1.0, "options": {"expires": 1.0}}}
beat_max_loop_interval = 1
# A publisher that cannot reach the broker gives up at once: an upload does not wait, the sweep sends again.
task_publish_retry = False
broker_connection_timeout = 2
broker_connection_retry_on_startup = True
broker_transport_options = {
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    # Redis hands a lost worker's task out again after this long; the sweep is faster.
    "visibility_timeout": 300,
    "queue_order_strategy": "round_robin",
}
worker_hijack_root_logger = False
worker_cancel_long_running_tasks_on_connection_loss = True
enable_utc = True
