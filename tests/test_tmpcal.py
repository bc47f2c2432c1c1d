from tests.test_cli import run  # noqa


def test_x(settings, run, monkeypatch):
    for n in (
        "feed_cap",
        "feed_slack",
        "fanout_batch",
        "fanout_slice",
        "promote_at",
        "demote_at",
        "feed_ttl_seconds",
    ):
        monkeypatch.delenv("FEEDSVC_" + n.upper())
    print(run("threshold", "calibrate"))
