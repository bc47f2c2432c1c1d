"""The settings of Celery, for tools that look for this file. `feedsvc.celery_settings` has them."""

from feedsvc.celery_settings import *  # noqa: F403 -- every setting
