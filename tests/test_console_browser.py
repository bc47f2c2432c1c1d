"""The console in Chromium, used by clicks, drags and keys."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import pytest
import sqlalchemy as sa

from feedsvc.graph import accounts, generate
from feedsvc.planning import change
from feedsvc.planning.survey import survey
from feedsvc.posts import publish
from feedsvc.routing import guardrails, versions
from feedsvc.routing.guardrails import Guardrails
from feedsvc.store.sql.tables import StoredSurvey
from tests.browser import DESK, PHONE, Visit, chromium, served

ACCOUNTS = 1_000
URL = "https://img.example/1.jpg"


# A page that closes during a request leaves a task of Playwright behind. The garbage collector
# reports it later, in any test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def services(app):
    """Return the services of an application with a small follow graph."""
    found = app.extensions["feedsvc"]
    change.change(
        found.stores,
        promote_at=40,
        demote_at=32,
        rollout_percent=100,
        reason="small",
        changed_by="test",
        if_match=None,
    )
    generate.load(found.stores, ACCOUNTS, 1)
    survey.refresh(found.stores)
    return found


@pytest.fixture
def visit(browser, app, services):
    """Return a function that opens the console: `visit()`, `visit(size=PHONE, scheme="dark")`."""
    visits = []
    with served(app) as url:

        def open_(**window):
            visits.append(Visit(browser, app, url, **window))
            return visits[-1]

        yield open_
        for each in visits:
            each.close()


def post(services, author):
    return publish.publish(
        services.stores, lambda *_: None, author, photo_url=URL, description="Hello"
    ).post_id


def test_a_one_time_link_signs_in_and_its_code_leaves_the_address(visit):
    person = visit()
    page = person.sign_in()
    assert page.get_by_role("heading", level=1).inner_text() == "Celebrity threshold"
    assert "#" not in page.url
    assert page.evaluate("document.cookie") == "", "no script reads the session"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()


def test_a_pasted_token_signs_in_and_a_bad_one_is_refused_with_a_message(visit, auth):
    person = visit()
    page = person.page
    page.goto(f"{person.url}/console/")
    page.get_by_label("Admin token").fill("nonsense")
    page.get_by_role("button", name="Sign in").click()
    assert "not valid" in page.get_by_role("alert").inner_text()
    person.faults.clear()  # the browser notes the 401
    page.get_by_label("Admin token").fill(
        auth(1, "admin:read")["Authorization"].removeprefix("Bearer ")
    )
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("read only").wait_for()


def test_an_account_is_found_pinned_and_unpinned_and_its_post_explained(visit, services):
    post_id = post(services, 7)
    page = visit().sign_in()
    page.get_by_role("link", name="Accounts").click()
    page.get_by_label("Account id").fill("7")
    page.keyboard.press("Enter")
    page.get_by_text("Its next post is pushed").wait_for()
    page.get_by_label("Reason").fill("loud")
    page.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_text("Its next post is pulled: pinned by an operator.").wait_for()
    page.get_by_role("button", name="Unpin").click()
    page.get_by_text("Its next post is pushed").wait_for()
    page.get_by_role("link", name=str(post_id)).click()
    assert page.get_by_label("Post id").input_value() == str(post_id)
    page.get_by_label("Whose feed").fill("7")
    page.get_by_role("button", name="Explain").click()
    page.get_by_role("heading", name="Yes").wait_for()


@pytest.mark.parametrize(("size", "scheme"), list(product((PHONE, DESK), ("light", "dark"))))
def test_pages_fit_the_window_and_are_accessible(visit, services, size, scheme):
    accounts.create(services.stores, 2**63 - 1)
    post_id = post(services, 2**63 - 1)
    person = visit(size=size, scheme=scheme)
    pages = {
        "sign-in": "sign-in",
        "record": "record",
        "accounts": "accounts",
        "account": f"accounts?id={2**63 - 1}",
    }
    pages |= {
        "explain": f"explain?viewer={2**63 - 1}&post={post_id}",
        "roll-back": "record/roll-back?version=1",
    }
    person.sign_in()
    for name, path in pages.items():
        person.page.goto(f"{person.url}/console/{path}")
        person.screenshot(name)
        person.assert_readable()


def move_line(page, share):
    """Drag the line over the accounts to this share of the chart's width. Return its new value."""
    line = page.get_by_role("slider", name="Threshold, over the accounts")
    line.scroll_into_view_if_needed()
    over = page.locator("#distribution .u-over").bounding_box()
    at = line.bounding_box()
    y = over["y"] + over["height"] / 2
    page.mouse.move(at["x"] + at["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(over["x"] + over["width"] * share, y, steps=5)
    page.mouse.up()
    return int(line.get_attribute("aria-valuenow"))


def test_a_dragged_line_moves_the_fields_and_the_preview(visit):
    page = visit().sign_in()
    value = move_line(page, 0.5)
    assert value < 40
    assert page.get_by_label("Pull from this many followers").input_value() == str(value)
    assert page.get_by_label("Push below this many followers").input_value() == str(
        round(value * 0.8)
    ), "the ratio is kept"
    assert page.get_by_role("slider", name="Threshold, over the costs").get_attribute(
        "aria-valuenow"
    ) == str(value)
    page.get_by_role("columnheader", name=f"At {value}", exact=True).wait_for()
    assert re.search(r"\d+ accounts change to pull", page.locator("#preview").inner_text())


def test_the_line_moves_by_keys(visit):
    page = visit().sign_in()
    line = page.get_by_role("slider", name="Threshold, over the costs")
    line.focus()
    values = []
    for key in (
        "ArrowRight",
        "ArrowDown",
        "ArrowLeft",
        "PageUp",
        "PageDown",
        "Home",
        "ArrowLeft",
        "ArrowUp",
        "End",
    ):
        page.keyboard.press(key)
        values.append(int(line.get_attribute("aria-valuenow")))
    most = int(line.get_attribute("aria-valuemax"))
    assert values == [41, 40, 39, most, most // 2, 1, 1, 2, most]
    assert "0 accounts have as many" in line.get_attribute("aria-valuetext")
    assert page.get_by_label("Pull from this many followers").input_value() == str(most)


def test_a_typed_number_moves_the_lines(visit):
    page = visit().sign_in()
    page.get_by_role("slider").first.wait_for()
    page.get_by_label("Push below this many followers").fill("5")
    page.get_by_label("Pull from this many followers").fill("10")
    assert [each.get_attribute("aria-valuenow") for each in page.get_by_role("slider").all()] == [
        "10",
        "10",
    ]
    page.get_by_role("columnheader", name="At 10", exact=True).wait_for()
    assert page.get_by_label("Push below this many followers").input_value() == "5", (
        "a demote_at that was typed in stays"
    )


def test_a_change_is_reviewed_applied_and_rolled_back(visit, services):
    person = visit()
    page = person.sign_in()
    value = move_line(page, 0.5)
    page.get_by_label("Reason").fill("less to push")
    page.get_by_role("button", name="Review").click()
    page.get_by_role("heading", name=f"Set the threshold to {value}?").wait_for()
    assert "change to pull" in page.get_by_role("main").inner_text(), (
        "the confirmation repeats the figures"
    )
    person.screenshot("confirm")
    assert versions.current(services.stores).version == 2
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile("/console/$"))
    now = versions.current(services.stores)
    assert (now.version, now.promote_at, now.reason, now.changed_by) == (
        3,
        value,
        "less to push",
        "1",
    )
    page.get_by_role("link", name="Roll back to version 2").click()
    # The page that the link leaves has a reason, too.
    page.get_by_role("heading", name="Roll back to version 2?").wait_for()
    page.get_by_label("Reason").fill("too much to merge")
    page.get_by_role("button", name="Roll back").click()
    page.wait_for_url(re.compile("/console/$"))
    assert versions.current(services.stores).promote_at == 40
    assert "too much to merge" in page.get_by_role("list").last.inner_text()


def test_the_charts_follow_the_window(visit):
    page = visit().sign_in()
    line = page.get_by_role("slider", name="Threshold, over the accounts")
    line.wait_for()
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function(
        "document.querySelector('#distribution canvas').getBoundingClientRect().width < 380"
    )
    over, at = page.locator("#distribution .u-over").bounding_box(), line.bounding_box()
    assert over["x"] < at["x"] + at["width"] / 2 < over["x"] + over["width"]


def test_thresholds_at_which_the_lists_exceed_the_near_cache_are_shaded(visit, app, services):
    # The light colour of the shade in the style sheet, somewhere in the chart of the costs.
    is_shaded = """() => {
      const canvas = document.querySelector("#costs canvas");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      for (let at = 0; at < data.length; at += 4) {
        if (data[at] === 0xee && data[at + 1] === 0xf0 && data[at + 2] === 0xf4) return true;
      }
      return false;
    }"""
    page = visit().sign_in()
    page.get_by_role("slider", name="Threshold, over the costs").wait_for()
    assert not page.evaluate(is_shaded)
    assert page.get_by_text("lists exceed the near cache").is_hidden()
    small = replace(services.stores.limits, near_cache_bytes=300_000)
    stores = replace(services.stores, limits=small)
    app.extensions["feedsvc"] = replace(services, stores=stores)
    page.reload()
    page.get_by_text("lists exceed the near cache", exact=True).wait_for()
    page.wait_for_function(is_shaded)


def test_a_change_is_made_with_the_keyboard_alone(visit, services):
    page = visit().sign_in()
    page.get_by_role("slider").first.wait_for()
    while page.evaluate("document.activeElement.getAttribute('role')") != "slider":
        page.keyboard.press("Tab")
    page.keyboard.press("PageDown")
    while page.evaluate("document.activeElement.id") != "reason":
        page.keyboard.press("Tab")
    page.keyboard.type("by hand")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Set the threshold to 20?").wait_for()
    page.locator("button:focus", has_text="Apply").wait_for()  # the focus arrives after the heading
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/console/$"))
    assert versions.current(services.stores).promote_at == 20


def test_a_change_that_a_guardrail_refuses_may_be_forced_with_a_reason(visit, services):
    guardrails.change(
        services.stores,
        Guardrails(min_promote_at=30),
        reason="careful",
        changed_by="test",
        if_match=None,
    )
    person = visit()
    page = person.sign_in()
    page.get_by_text("Guardrails: min promote at 30.").wait_for()
    page.get_by_label("Pull from this many followers").fill("20")
    page.get_by_label("Reason").fill("an experiment")
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("promote_at 20 is below its bound of 30").wait_for()
    assert versions.current(services.stores).version == 2
    person.screenshot("refused")
    person.faults.clear()  # the browser notes the 409
    page.get_by_label("Reason to apply it anyway").fill("agreed with the team")
    page.get_by_role("button", name="Apply anyway").click()
    page.get_by_text("forced against a guardrail").wait_for()
    assert versions.current(services.stores).reason == "agreed with the team"


def test_live_figures_are_updated_and_recover_from_a_failed_request(visit, services):
    person = visit()
    page = person.page
    page.clock.install()
    person.sign_in()
    page.get_by_text("no post in the last minute").wait_for()
    post(services, 7)
    page.clock.run_for(4_000)
    page.get_by_text("1 post in the last minute").wait_for()
    page.route("**/live", lambda route: route.abort())
    page.clock.run_for(4_000)
    page.locator("#live").get_by_text("The service cannot be reached.").wait_for()
    page.unroute("**/live")
    page.clock.run_for(4_000)
    page.locator("#live").get_by_text("The service cannot be reached.").wait_for(state="hidden")
    person.faults.clear()  # the browser notes what it could not load


def test_a_read_only_session_previews_but_cannot_apply(visit):
    page = visit().sign_in(["admin:read"])
    move_line(page, 0.5)
    page.get_by_text("change to pull").wait_for()
    assert page.get_by_role("button", name="Review").count() == 0
    assert page.get_by_role("link", name="Roll back").count() == 0


def test_a_failed_request_is_shown_and_repeated_with_a_button(visit):
    person = visit()
    person.page.route("**/threshold/*", lambda route: route.abort())
    page = person.sign_in()
    page.get_by_text("The service cannot be reached.").nth(1).wait_for()
    page.unroute("**/threshold/*")
    person.faults.clear()  # the browser notes what it could not load
    for button in page.get_by_role("button", name="Try again").all()[::-1]:
        button.click()
    page.get_by_role("slider").nth(1).wait_for()
    page.get_by_role("columnheader", name="At 40", exact=True).wait_for()
    assert page.get_by_role("button", name="Try again").count() == 0


def test_a_request_without_an_answer_ends_at_its_deadline(visit):
    person = visit()
    page = person.page
    page.clock.install()
    waiting = []
    # Playwright inspects the handler, so a method of a built-in type will not do.
    page.route("**/threshold/*", lambda route: waiting.append(route))  # noqa: PLW0108
    person.sign_in()
    page.clock.run_for(11_000)
    page.get_by_text("No answer within 10 s.").nth(1).wait_for()
    for route in waiting:  # the page cannot close while a request waits
        route.abort()
    person.faults.clear()  # the browser notes what it could not load


def test_the_page_says_that_there_is_no_survey_yet(visit, services):
    with services.stores.sql.writing() as connection:
        connection.execute(sa.delete(StoredSurvey))
    person = visit()
    page = person.sign_in()
    page.get_by_text("There is no survey of accounts").nth(1).wait_for()
    person.screenshot("nothing-known")
    person.faults.clear()  # the browser notes the 409
    page.get_by_label("Reason").fill("in the dark")
    page.get_by_role("button", name="Review").click()
    page.get_by_text("The effects cannot be predicted yet").wait_for()


@pytest.mark.parametrize(("size", "scheme"), list(product((PHONE, DESK), ("light", "dark"))))
def test_the_threshold_page_fits_the_window_and_is_accessible(visit, services, size, scheme):
    person = visit(size=size, scheme=scheme)
    page = person.sign_in()
    move_line(page, 0.5)
    page.get_by_text("change to").wait_for()
    page.locator("[aria-busy=true]").wait_for(state="detached")
    person.screenshot("threshold")
    person.assert_readable()
