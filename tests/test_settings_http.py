"""The settings of addresses: origins, the public URL, and trusted proxies."""

from __future__ import annotations

import pytest

from feedsvc.errors import BadSettings
from feedsvc.settings import load_settings


@pytest.mark.parametrize(
    "origins",
    [
        "https://app.example",
        "http://localhost:3000, https://b.example:8443",
        "http://127.0.0.1",
        "http://[::1]:3000",
        "capacitor://localhost",
        "*",
    ],
)
def test_origins_as_browsers_send_them_are_accepted(origins):
    loaded = load_settings({"FEEDSVC_CORS_ORIGINS": origins})
    assert loaded.cors_origins == tuple(part.strip() for part in origins.split(","))


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example/",
        "https://app.example/path",
        "https://APP.example",
        "https://app.example:443",
        "http://app.example:80",
        "https://*.example",
        "app.example",
        "//app.example",
        "https://",
        "null",
        "https://user@app.example",
    ],
)
def test_an_origin_that_would_never_match_is_an_error_at_the_start(origin):
    with pytest.raises(BadSettings, match=r"CORS_ORIGINS.*without a slash at the end"):
        load_settings({"FEEDSVC_CORS_ORIGINS": f"https://good.example,{origin}"})


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://app.example", "https://app.example"),
        ("https://app.example/", "https://app.example"),
        ("http://10.0.0.1:8080/feeds/v2/", "http://10.0.0.1:8080/feeds/v2"),
        ("https://[2001:db8::1]/feeds", "https://[2001:db8::1]/feeds"),
        ("", None),
    ],
)
def test_a_public_url_has_a_scheme_a_host_and_a_prefix(url, kept):
    assert load_settings({"FEEDSVC_PUBLIC_URL": url}).public_url == kept


@pytest.mark.parametrize(
    "url",
    [
        "app.example",
        "ftp://app.example",
        "https://",
        "https:///feeds",
        "https://user:secret@app.example",
        "https://app.example?x=1",
        "https://app.example/feeds#top",
        "https://app.example//feeds",
        "https://app.example/../feeds",
        "https://app.example/a b",
        "https://app.example:port",
        "https://a.example,https://b.example",
    ],
)
def test_another_public_url_is_an_error_at_the_start(url):
    with pytest.raises(BadSettings, match="PUBLIC_URL") as refused:
        load_settings({"FEEDSVC_PUBLIC_URL": url})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("count", ["-1", "yes", "1.5", "17"])
def test_a_wrong_number_of_trusted_proxies_is_an_error_at_the_start(count):
    with pytest.raises(BadSettings, match="TRUSTED_PROXIES"):
        load_settings({"FEEDSVC_TRUSTED_PROXIES": count})
