"""What a WSGI server loads: `app`, with its settings from the environment."""

from feedsvc import create_app

app = create_app()
