"""The module that a WSGI server loads: `app`, with the settings of the environment.

If the application cannot start, a process ends with the exit code 3. Gunicorn takes 3 as "never
start this process again", and ends too.
"""

from __future__ import annotations

from feedsvc.app import create_app
from feedsvc.errors import ends_process

with ends_process(exit_code=3):
    app = create_app()
