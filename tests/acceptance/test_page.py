"""The page at `/` in a real Chromium, over a real worker on a real stack: what an operator at 3 a.m. sees and does."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from consumer.page_feed import MOST_VIEWERS
from tests.acceptance.test_http import TOKEN, gateway_away
from tests.browser import chromium, opened, unreachable_by_some
from tests.engine import JOBS, until
from tests.held import HeldStack
from tests.processes import Process, running

Visit = Callable[..., AbstractAsyncContextManager[Page]]
pytestmark = pytest.mark.asyncio(loop_scope="module")

UNAUTHORIZED = ("401 (Unauthorized)",)
NOT_CONNECTED = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET")
HOSTILE = '<img src=x onerror="window.pwned = 1"><script>window.pwned = 1</script>\'); window.pwned = 1; //'
PHONE = {"width": 360, "height": 740}
NODES = [
    ("webhook_1", "webhook", 250, {"method": "POST"}),
    ("slack_message_1", "slack_message", 550, {"webhookUrl": "", "message": "Hello"}),
]


def workflow(label: str = "Tell #sales") -> dict[str, Any]:
    """A workflow of two nodes, whose texts all are `label`."""
    nodes = [
        {"id": name, "type": kind, "label": label, "position": {"x": x, "y": 100}, "config": config}
        for name, kind, x, config in NODES
    ]
    return {
        "name": label, "summary": label, "nodes": nodes,
        "edges": [{"id": "e1", "source": "webhook_1", "target": "slack_message_1"}],
        "requiredCredentials": [{"node": "slack_message_1", "field": "webhookUrl"}],
    }  # fmt: skip


def quoted(value: object) -> str:
    """A text, or anything else as JSON, for SQL."""
    text = value if isinstance(value, str) else json.dumps(value)
    return "'" + text.replace("'", "''") + "'"


def insert(held: HeldStack, job_id: str, status: str, **columns: object) -> None:
    """A job that ended ten minutes ago."""
    row = {"id": job_id, "prompt": "Tell sales", "status": status, "worker_id": "w-old", "attempt": 3} | columns
    names, values = ", ".join(row), ", ".join(quoted(each) if each is not None else "null" for each in row.values())
    held.sql(
        f"insert into {JOBS} ({names}, created_at, started_at, finished_at, duration_ms) values ({values}, "
        "now() - interval '12 min', now() - interval '11 min', now() - interval '10 min', 60000)"
    )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as it:
        yield it


@pytest.fixture(scope="module")
def worker(module_held: HeldStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, str]]:
    """A worker that asks for a token, and its URL."""
    env = {**module_held.env, "WORKER_ID": "gpu-1", "WORKER_API_TOKEN": TOKEN}
    with running("run", "--http", "127.0.0.1:0", env=env, cwd=tmp_path_factory.mktemp("worker")) as process:
        url = process.address()
        process.wait_for("ready: waiting for jobs")
        yield process, url


@pytest.fixture
def visit(browser: Browser, worker: tuple[Process, str], held: HeldStack) -> Visit:
    """Opens the page of a worker whose queue was emptied, with the token given unless `token` says otherwise."""

    def opening(path: str = "", **more: Any) -> AbstractAsyncContextManager[Page]:
        return opened(browser, f"{worker[1]}/{path}", **{"token": TOKEN, **more})

    return opening


@pytest_asyncio.fixture(loop_scope="module")
async def page(visit: Visit) -> AsyncIterator[Page]:
    """The page before anything has happened."""
    async with visit() as it:
        await expect(it.locator("#live")).to_have_text("Live")
        yield it


async def test_an_empty_page_says_that_all_is_well_and_what_to_do_next(page: Page) -> None:
    await expect(page.get_by_role("heading", name="All is well")).to_be_visible()
    await expect(page.locator("#state-line")).to_have_text("1 worker, none in work, nothing waits.")
    await expect(page.locator("#jobs-empty")).to_contain_text('consumer submit "')
    await expect(page.locator("#workers")).to_contain_text("gpu-1")
    await expect(page.locator("#workers")).to_contain_text("ready")
    for place in ("#ended", "#speed", "#failures"):
        await expect(page.locator(place)).to_contain_text("last 24 hours")
    assert await page.title() == "0 in work, 0 waiting · gpu-1"


async def test_a_job_is_seen_live_by_keyboard_from_the_queue_to_its_picture(page: Page, held: HeldStack) -> None:
    held.hold()
    job_id = held.submit("When the contact form is sent, tell sales ")
    row = page.get_by_role("row").filter(has_text=job_id)
    await expect(row).to_contain_text("in work")
    await expect(row).to_contain_text("workflow generation")
    await expect(row.get_by_role("progressbar")).to_be_visible()
    await row.get_by_role("link").focus()
    await page.keyboard.press("Enter")
    sheet = page.get_by_role("dialog", name=job_id)
    await expect(sheet.get_by_role("progressbar", name="Progress")).to_be_visible()
    await expect(sheet).to_contain_text("When the contact form is sent, tell sales 1")
    await expect(sheet.locator("#job-timeline")).to_contain_text("Attempt 1 on gpu-1")
    held.let_go()
    await expect(sheet.locator("#job-state")).to_contain_text("completed")
    picture = sheet.get_by_role("img", name="The workflow as a graph")
    await expect(picture).to_have_attribute("src", re.compile("^blob:"))
    await page.wait_for_function("document.getElementById('picture').naturalWidth > 200")
    await expect(sheet.locator(".outline")).to_contain_text("Starts with:")
    timeline = sheet.locator("#job-timeline")
    for words in ("Waited", "Attempt 1", "analyze", "workflow generation", "validation", "completed"):
        await expect(timeline).to_contain_text(words)
    await expect(sheet.get_by_role("table", name="Log", exact=True)).to_contain_text("Workflow completed")
    await expect(sheet.get_by_role("table", name="What the model did")).to_contain_text("qwen2.5:7b")
    await page.keyboard.press("Escape")
    await expect(sheet).to_be_hidden()
    await expect(row).to_contain_text("completed")
    await expect(row.get_by_role("link")).to_be_focused()


async def test_a_failed_job_says_what_went_wrong_and_what_to_do(visit: Visit, held: HeldStack) -> None:
    wrong = {"code": "CYCLE", "pointer": "/edges/3", "message": "The edge leads back.", "fix": "Remove the edge."}
    repair = {"by": "model", "code": "NO_TRIGGER", "pointer": "/nodes", "message": "A trigger was added."}
    before = {"attempt": 1, "code": "MODEL_TIMEOUT", "message": "Too slow.", "at": "2026-01-01T03:00:00+00:00"}
    details = {"code": "ATTEMPTS_EXHAUSTED", "cause": "WORKFLOW_INVALID", "phase": "validation",
               "violations": [wrong], "history": [before]}  # fmt: skip
    insert(held, "broken-1", "failed", error_message="No valid workflow could be built.", error_details=details,
           observability={"repairs": [repair]})  # fmt: skip
    async with visit() as page:
        await page.get_by_role("radio", name="Failed").check()
        row = page.get_by_role("row").filter(has_text="broken-1")
        await expect(row).to_contain_text("ATTEMPTS_EXHAUSTED")
        await row.get_by_role("link").click()
        sheet = page.get_by_role("dialog", name="broken-1")
        error = sheet.locator("#job-error")
        for words in ("because of WORKFLOW_INVALID", "No valid workflow could be built.", "1: MODEL_TIMEOUT Too slow.",
                      "What to do: The violations below"):  # fmt: skip
            await expect(error).to_contain_text(words)
        rules = sheet.get_by_role("table", name="Broken rules", exact=True)
        await expect(rules.get_by_role("columnheader")).to_have_text(
            ["Rule", "Where", "What is wrong", "What would fix it"]
        )
        await expect(rules.get_by_role("row").nth(1)).to_have_text("CYCLE/edges/3The edge leads back.Remove the edge.")
        await expect(sheet.get_by_role("table", name="Repairs", exact=True)).to_contain_text("A trigger was added.")
        await expect(page.locator("#failures")).to_contain_text("ATTEMPTS_EXHAUSTED")


async def test_a_day_is_drawn_with_its_figures_beside_it(visit: Visit, held: HeldStack) -> None:
    phases = {"generate": {"model": "qwen2.5:7b", "tokens_per_second": 24.04}}
    insert(held, "good-1", "completed", workflow_result=workflow(), observability={"phases": phases})
    insert(held, "bad-1", "failed", error_details={"code": "MODEL_TIMEOUT", "clock": "load"})
    async with visit() as page:
        await expect(
            page.get_by_role("img", name="Ended jobs of the last 24 hours: 2, of them 1 failed")
        ).to_be_visible()
        await expect(page.get_by_role("img", name="qwen2.5:7b: 24 at last.")).to_be_visible()
        await page.locator("#speed summary").click()
        speeds = page.get_by_role("table", name="Tokens per second")
        await expect(speeds.get_by_role("columnheader")).to_have_text(["Hour", "qwen2.5:7b"])
        await expect(speeds.get_by_role("row")).to_have_count(25)
        await page.locator("#failures").get_by_role("link", name="the last one").click()
        await expect(page.locator("#job-error")).to_contain_text("OLLAMA_LOAD_TIMEOUT")


async def test_hostile_text_is_shown_as_text_and_nothing_of_it_runs(visit: Visit, held: HeldStack) -> None:
    phases = {"generate": {"model": HOSTILE[:50], "tokens_per_second": 1.0}}
    wrong = {"code": HOSTILE, "pointer": HOSTILE, "message": HOSTILE, "fix": HOSTILE}
    details = {"code": HOSTILE, "cause": HOSTILE, "phase": HOSTILE, "violations": [wrong],
               "history": [{"attempt": 1, "code": HOSTILE, "message": HOSTILE}]}  # fmt: skip
    log = [{"message": HOSTILE, "phase": HOSTILE, "progress": 1, "timestamp": HOSTILE}]
    seen = {"phases": phases, "repairs": [wrong]}
    insert(held, "evil-1", "completed", prompt=HOSTILE, workflow_result=workflow(HOSTILE), observability=seen)
    insert(held, "evil-2", "failed", prompt=HOSTILE, error_message=HOSTILE, error_details=details, progress_logs=log,
           observability=seen)  # fmt: skip
    info = {"hostname": HOSTILE, "version": HOSTILE, "degraded": HOSTILE, "realtime": HOSTILE}
    held.as_worker(f"public.heartbeat_workflow_worker('evil', {quoted(info)})")
    try:
        async with visit() as page:
            for place in ("#workers", "#reasons", "#failures", "#speed"):
                await expect(page.locator(place)).to_contain_text("<img src=x")
            for job_id in ("evil-1", "evil-2"):
                await page.get_by_role("row").filter(has_text=job_id).get_by_role("link").click()
                await expect(page.locator("#job-prompt")).to_have_text(HOSTILE)
                await expect(page.locator("#job-mended")).to_contain_text(HOSTILE)
                if job_id == "evil-1":
                    await page.wait_for_function("document.getElementById('picture')?.naturalWidth > 200")
                    await expect(page.locator(".outline")).to_contain_text("<script>")
                await page.keyboard.press("Escape")
            assert await page.evaluate("window.pwned") is None
            assert await page.locator("main img, dialog img, main script, dialog script").count() == 0
    finally:
        held.as_worker("public.heartbeat_workflow_worker('evil', '{}', true)")


async def test_a_drawing_opened_on_its_own_may_run_nothing(
    browser: Browser, worker: tuple[Process, str], held: HeldStack
) -> None:
    insert(held, "good-2", "completed", workflow_result=workflow())
    async with await browser.new_context(extra_http_headers={"Authorization": f"Bearer {TOKEN}"}) as profile:
        answer = await profile.request.get(f"{worker[1]}/page/jobs/good-2/workflow.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"


async def test_with_a_token_set_the_page_shows_nothing_before_it_is_given(visit: Visit, held: HeldStack) -> None:
    insert(held, "good-3", "completed", workflow_result=workflow())
    async with visit(token=None, expected=UNAUTHORIZED) as page:
        gate = page.get_by_role("region", name="This worker asks for its token")
        await expect(gate.get_by_label("Token", exact=True)).to_be_focused()
        await expect(page.locator("#data")).to_be_hidden()
        await page.keyboard.type("not-the-token-0123")
        await page.keyboard.press("Enter")
        await expect(gate.get_by_role("alert")).to_have_text(
            "The worker does not know this token. Is it this worker's?"
        )
        assert await page.evaluate("sessionStorage.length") == 0
        await gate.get_by_label("Token", exact=True).fill(TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("row").filter(has_text="good-3")).to_be_visible()
        assert TOKEN not in page.url
        assert await page.evaluate("localStorage.length + document.cookie.length") == 0
        await page.get_by_role("button", name="Forget token").click()
        await expect(gate).to_be_visible()
        assert await page.evaluate("sessionStorage.length") == 0


async def test_a_job_is_cancelled_and_tried_again_with_the_token(page: Page, held: HeldStack) -> None:
    held.hold()
    job_id = held.submit("When the form is sent, mail me ")
    await page.get_by_role("row").filter(has_text=job_id).get_by_role("link").click()
    sheet = page.get_by_role("dialog", name=job_id)
    await sheet.get_by_role("button", name="Cancel the job").click()
    await sheet.get_by_role("button", name="Keep it").click()
    assert held.status(job_id) == "processing"
    await sheet.get_by_role("button", name="Cancel the job").click()
    await sheet.get_by_role("button", name="Yes, cancel it").press("Enter")
    await expect(sheet.locator("#job-state")).to_contain_text("cancelled")
    assert held.status(job_id) == "cancelled"
    held.let_go()
    await sheet.get_by_role("button", name="Retry the job").click()
    await expect(sheet.locator("#job-state")).to_contain_text("completed")
    await expect(sheet.locator("#job-timeline")).to_contain_text("Attempt 2")


async def test_without_a_token_on_loopback_the_page_only_reads_and_names_the_command(
    browser: Browser, held: HeldStack, tmp_path: Path
) -> None:
    insert(held, "bad-2", "failed", error_details={"code": "MODEL_TIMEOUT"})
    with running("run", "--http", "127.0.0.1:0", env={**held.env, "WORKER_ID": "open-1"}, cwd=tmp_path) as process:
        url = process.address()
        async with opened(browser, f"{url}/#job/bad-2", expected=NOT_CONNECTED) as page:
            acts = page.locator("#job-acts")
            await expect(acts).to_contain_text("consumer retry bad-2")
            await expect(acts.get_by_role("button")).to_have_count(0)
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("button", name="Forget token")).to_be_hidden()
            await expect(page.locator("#live")).to_have_text("Live")
            assert process.stop() == 0
            await expect(page.get_by_role("heading", name="This worker does not answer")).to_be_visible()
            await expect(page.get_by_role("row").filter(has_text="bad-2")).to_be_visible()


async def test_the_page_goes_on_while_the_database_is_away_and_comes_back(
    page: Page, held: HeldStack, worker: tuple[Process, str]
) -> None:
    insert(held, "good-4", "completed", workflow_result=workflow())
    await expect(page.get_by_role("row").filter(has_text="good-4")).to_be_visible()
    with gateway_away(held.stack):
        await expect(page.locator("#reasons")).to_contain_text("What you see of jobs is as it was")
        await expect(page.locator("#state")).to_have_attribute("data-state", re.compile("degraded|unhealthy"))
        await expect(page.get_by_role("row").filter(has_text="good-4")).to_be_visible()
        await expect(page.locator("#live")).to_have_text("Live")
    job_id = held.submit("When the database is back, tell me ")
    await expect(page.get_by_role("row").filter(has_text=job_id)).to_be_visible(timeout=30_000)


async def test_on_a_phone_nothing_is_wider_than_the_screen(visit: Visit, held: HeldStack) -> None:
    wide = "w" * 200
    insert(held, "j" * 64, "failed", prompt=wide, error_message=wide, error_details={"code": "WORKFLOW_INVALID"})
    insert(held, "good-5", "completed", prompt=wide, workflow_result=workflow(wide))
    widest = "Math.max(document.documentElement.scrollWidth, document.getElementById('job').scrollWidth)"
    async with visit(viewport=PHONE, has_touch=True, is_mobile=True) as page:
        for job_id in ("j" * 64, "good-5"):
            await expect(page.get_by_role("row").filter(has_text=job_id)).to_be_visible()
            assert await page.evaluate(widest) == PHONE["width"]
            await page.get_by_role("row").filter(has_text=job_id).get_by_role("link").tap()
            await expect(page.locator("#job-facts")).to_be_visible()
            assert await page.evaluate(widest) == PHONE["width"]
            await page.get_by_role("button", name="Close").tap()


@pytest.mark.node
async def test_a_checker_of_accessibility_finds_nothing_in_light_and_dark(visit: Visit, held: HeldStack) -> None:
    wrong = {"code": "CYCLE", "pointer": "/edges/3", "message": "The edge leads back.", "fix": "Remove the edge."}
    phases = {"generate": {"model": "qwen2.5:7b", "tokens_per_second": 24.0}}
    details = {"code": "WORKFLOW_INVALID", "violations": [wrong]}
    insert(held, "bad-3", "failed", error_details=details, observability={"phases": phases})
    insert(held, "good-6", "completed", workflow_result=workflow(), observability={"phases": phases})
    async with visit(token=None, expected=UNAUTHORIZED) as page:
        await expect(page.get_by_label("Token", exact=True)).to_be_focused()
        assert await unreachable_by_some(page) == []
    async with visit() as page:
        await expect(page.locator("#failures")).to_contain_text("WORKFLOW_INVALID")
        for fragment, part in (("", "#jobs"), ("job/bad-3", "#job-mended"), ("job/good-6", "#job-workflow")):
            await page.evaluate("fragment => { location.hash = fragment; }", fragment)
            await expect(page.locator(part)).to_be_visible()
            assert await unreachable_by_some(page) == []
            await page.emulate_media(color_scheme="dark")
            assert await unreachable_by_some(page, "color-contrast") == []
            await page.emulate_media(color_scheme="light")


async def test_every_part_is_reached_by_keyboard(visit: Visit, held: HeldStack) -> None:
    insert(held, "good-7", "completed", workflow_result=workflow())
    async with visit(expected=("404 (Not Found)",)) as page:
        await expect(page.get_by_role("row").filter(has_text="good-7")).to_be_visible()
        seen = []
        for _ in range(12):
            await page.keyboard.press("Tab")
            seen.append(await page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))
            shown = "document.activeElement.type === 'radio' ? document.activeElement.nextSibling :"
            shown += " document.activeElement.closest('tr') ?? document.activeElement"
            assert await page.evaluate(f"getComputedStyle({shown}).outlineStyle") == "solid", seen[-1]
            if "Tell sales" in seen:
                break
        assert [
            name for name in ("Skip to the jobs", "open-id", "Open", "Forget token", "Tell sales") if name not in seen
        ] == []
        await page.get_by_role("row").filter(has_text="good-7").get_by_text("ago").click()  # not its link, but its row
        await expect(page.get_by_role("dialog", name="good-7")).to_be_visible()
        await page.keyboard.press("Escape")
        await page.locator("#filter").get_by_role("radio", name="All").focus()
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("radio", name="In work")).to_be_checked()
        await expect(page.locator("#jobs-empty")).to_contain_text("Nothing is in work.")
        await page.get_by_label("Id of a job to open").fill("nobody-1")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_contain_text("There is no such job. Check the id.")


async def test_older_jobs_are_listed_a_page_at_a_time(visit: Visit, held: HeldStack) -> None:
    held.sql(
        f"insert into {JOBS} (id, prompt, status, created_at, started_at, finished_at, error_details) "
        "select 'old-' || n, 'Job ' || n, case when n % 2 = 0 then 'failed' else 'cancelled' end, t.at, t.at, t.at, "
        "'{}' from generate_series(1, 70) n, lateral (select now() - n * interval '1 min' as at) t"
    )
    async with visit() as page:
        rows = page.get_by_role("row").filter(has=page.get_by_role("link"))
        await expect(rows).to_have_count(12)
        for shown in (50, 70):
            await page.get_by_role("button", name="Show older jobs").click()
            await expect(rows).to_have_count(shown)
        await expect(page.get_by_role("button", name="Show older jobs")).to_be_hidden()
        await expect(page.get_by_role("rowheader", name="Older: 58, as they were at")).to_be_visible()
        await page.get_by_role("radio", name="Failed").check()
        await expect(rows).to_have_count(20)
        await page.get_by_role("button", name="Show older jobs").click()
        await expect(rows).to_have_count(35)


async def test_a_paused_worker_says_how_it_is_resumed(page: Page, held: HeldStack) -> None:
    held.as_worker("public.heartbeat_workflow_worker('gpu-9')")
    held.as_worker("public.pause_workflow_workers('gpu-9', true)")
    try:
        await expect(page.get_by_role("heading", name="It works, but look at this")).to_be_visible()
        await expect(page.locator("#reasons")).to_contain_text("To resume: consumer resume gpu-9")
        await expect(page.locator("#workers li").filter(has_text="gpu-9")).to_contain_text("paused")
    finally:
        held.as_worker("public.pause_workflow_workers('gpu-9', false)")
        held.as_worker("public.heartbeat_workflow_worker('gpu-9', '{}', true)")
    await expect(page.get_by_role("heading", name="All is well")).to_be_visible()


async def test_who_comes_when_too_many_look_is_told_to_wait(worker: tuple[Process, str], held: HeldStack) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=worker[1], headers=headers, trust_env=False) as client:
        kept: list[AsyncIterator[str]] = []
        async with AsyncExitStack() as streams:
            for _ in range(MOST_VIEWERS):
                answer = await streams.enter_async_context(client.stream("GET", "/page/live"))
                assert answer.headers["content-type"].startswith("text/event-stream")
                kept.append(answer.aiter_lines())  # one that is let go closes its stream
                await anext(kept[-1])
            late = await client.get("/page/live")
            assert (late.status_code, late.headers["retry-after"]) == (503, "30")
            assert "Close some" in late.json()["error"]

        async def one_may_come() -> bool:
            async with client.stream("GET", "/page/live") as answer:
                return answer.status_code == 200

        await until("one may come", one_may_come)
