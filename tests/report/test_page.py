"""The page in a browser: every number it shows against the document in it, and everything that can be worked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from runark.archive.control import Control
from runark.engine.protocol import Fault
from runark.names import escape, from_json_path
from runark.report.days import Full
from runark.report.forms import Target, write_report
from runark.report.previous import read_previous
from runark.report.rate import Rate
from runark.report.summary import summary_lines
from runark.report.survey import report_of, survey
from runark.report.units import counted, human_bytes, human_seconds
from support import browser as chromium
from support.browser import Opened
from support.surveyed import hostile


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.browser() as started:
        yield started


@pytest.fixture(scope="module")
def path(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the tree, cut off at 100 days."""
    from runark.archive.filters import Filters

    path = tmp_path_factory.mktemp("page") / "out.html"
    write_report(survey(tree, filters=Filters(older_than="100d")), Target(os.fsencode(path), "html"))
    return path


@pytest.fixture(scope="module")
def document(path: Path) -> dict[str, Any]:
    found = read_previous(os.fsencode(path))
    assert found is not None
    return found


@pytest.fixture
def opened(browser: Browser, path: Path) -> Iterator[Opened]:
    with Opened(browser, path) as opened:
        yield opened
        assert opened.complaints == []
        assert opened.asked == [opened.url]


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %"


def check_first_screen(opened: Opened, document: dict[str, Any], at: int) -> None:
    """The four numbers, what they are put against, the verdict and the commands."""
    cut, scanned = document["cuts"][at], document["scanned"]
    (disk,) = document["disks"]
    assert opened.text("#n-sessions") == f"{cut['sessions']:,}"
    assert (
        opened.text("#by-sessions")
        == f"{share(cut['sessions'], scanned['sessions'])} of {scanned['sessions']:,} sessions"
    )
    assert opened.text("#n-inodes") == f"{cut['inodes_freed']:,}"
    used, all_ = disk["inodes_used"], disk["inodes"]
    then = (
        f"{share(used, all_)} of the filesystem is used, then {share(used - cut['inodes_freed'], all_)}" if all_ else ""
    )
    assert opened.text("#by-inodes") == (
        f"{share(cut['inodes_freed'], used)} of {used:,} used; {then}"
        if all_
        else "the filesystem has no fixed number of inodes"
    )
    low, likely, high = cut["bytes_freed"]
    assert opened.text("#n-bytes") == human_bytes(likely)
    of = f"{share(likely, disk['used'])} of {human_bytes(disk['used'])} used"
    assert opened.text("#by-bytes") == f"95 %: {human_bytes(low)} to {human_bytes(high)}; {of}"
    assert opened.text("#n-time") == human_seconds(cut["seconds"])
    sessions = counted(cut["sessions"], "session")
    assert opened.text("#verdict") == f"{sessions} of {scanned['sessions']:,} would go, and 3 matters need a person."
    assert opened.texts("#matters li") == [matter["what"] for matter in document["matters"]]
    assert opened.text("#apply") == f"{document['commands']['archive']}{cut['option']} --execute"
    assert opened.text("#undo") == document["commands"]["undo"]
    assert opened.text("#undo-one") == document["commands"]["undo_one"]
    when = datetime.fromtimestamp((cut["before_ns"] or 0) // 10**9, timezone.utc).date()
    assert opened.text("#cut-text") == (f"{when} ({cut['age']})" if cut["age"] else "now: all go")
    assert opened.page.locator("#cut").get_attribute("aria-valuetext") == opened.text("#cut-text")


def rows(opened: Opened, section: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in row.locator("td").all_inner_texts()]
        for row in opened.page.locator(f"#{section} tbody tr").all()
    ]


def check_groups(opened: Opened, document: dict[str, Any], section: str, at: int, unit: str) -> None:
    """Before and after, added up anew."""
    root = document["roots"][0] + "/"
    ratio = document["sample"]["ratio"]["likely"]
    expected = []
    for group in document[section]:
        gone = [cell for cell in group["reached"] if cell[0] >= at]
        if unit == "inodes":
            before = group["inodes"]
            left = before - sum(cell[3] - cell[2] for cell in gone)
            shown = [f"{before:,}", f"{left:,}"]
        else:
            before = group["allocated"]
            left = before - sum(cell[4] - ratio * cell[5] for cell in gone)
            shown = [human_bytes(before), human_bytes(round(left))]
        expected.append([group["name"].removeprefix(root), f"{group['sessions']:,}", *shown, ""])
    assert rows(opened, section) == expected


def check_skips(opened: Opened, document: dict[str, Any], at: int) -> None:
    """All reasons add up to everything scanned."""
    cut, scanned = document["cuts"][at], document["scanned"]
    skipped = {
        **document["skipped"],
        "young": document["skipped"].get("young", 0) + scanned["eligible"] - cut["sessions"],
    }
    numbers = [cut["sessions"], *(number for number in skipped.values() if number)]
    assert sum(numbers) == scanned["sessions"]
    assert [row[1] for row in rows(opened, "skips")] == [f"{number:,}" for number in numbers]
    assert opened.texts("#skips tfoot td") == ["scanned", f"{scanned['sessions']:,}", "100.0 %"]


def test_every_number_is_that_of_the_document(opened: Opened, document: dict[str, Any]) -> None:
    check_first_screen(opened, document, document["start"])
    check_skips(opened, document, document["start"])
    for section in ("owners", "scripts"):
        check_groups(opened, document, section, document["start"], "inodes")
    names = {"success": "success or finished"}
    keys = [
        f"{names.get(name, name)}: {sum(c[2] for c in cells):,}" for name, cells in document["ages"].items() if cells
    ]
    assert opened.texts("#age-key li") == keys
    assert opened.page.locator("#age-chart rect:not(#stays)").count() == sum(map(len, document["ages"].values()))
    tiles = document["tiles"]
    assert opened.page.locator("#treemap .tile").count() == len(tiles)
    titles = opened.page.locator("#size-bytes title").all_text_contents()
    assert sum(int(title.rpartition(": ")[2].split()[0].replace(",", "")) for title in titles) == sum(
        document["sizes"]["size"]
    )
    days = opened.page.locator("#calendar title").all_text_contents()
    drawn = {
        day: n
        for day, n, *_ in document["calendar"]["days"]
        if day[:4] > str(int(document["calendar"]["today"][:4]) - 3)
    }
    assert {title[:10]: int(title[12:].split()[0]) for title in days if not title.endswith(": 0 sessions")} == drawn
    assert len(rows(opened, "ghosts")) == 2 and "process 4000000" in rows(opened, "ghosts")[0][1]
    assert opened.text("#errors .scroll") == "Everything was read."
    assert "Quotas of users" in opened.text("#how")


def test_the_cut_off_is_dragged(opened: Opened, document: dict[str, Any]) -> None:
    page, last = opened.page, len(document["cuts"]) - 1
    box = page.locator("#age-chart").bounding_box()
    assert box is not None

    def x(at: int) -> float:
        return box["x"] + 8 + at * (box["width"] - 16) / last

    page.mouse.move(x(document["start"]), box["y"] + 50)
    page.mouse.down()
    for at in (last // 2, 12, 40):
        page.mouse.move(x(at), box["y"] + 60)
        check_first_screen(opened, document, at)
        check_skips(opened, document, at)
    page.mouse.up()
    page.mouse.move(x(3), box["y"] + 60)
    check_first_screen(opened, document, 40)
    check_groups(opened, document, "owners", 40, "inodes")
    # The slider under the chart, by mouse and by keyboard.
    slider = page.locator("#cut").bounding_box()
    assert slider is not None
    page.mouse.move(x(40), slider["y"] + slider["height"] / 2)
    page.mouse.down()
    page.mouse.move(x(80), slider["y"] + slider["height"] / 2, steps=4)
    page.mouse.up()
    check_first_screen(opened, document, 80)
    page.locator("#cut").focus()
    for key, at in (("ArrowRight", 81), ("ArrowLeft", 80), ("Home", 0), ("End", last), ("Home", 0)):
        page.keyboard.press(key)
        check_first_screen(opened, document, at)
    check_groups(opened, document, "scripts", 0, "inodes")
    line = page.locator("#cut-line")
    assert line.get_attribute("x1") == "8"


def test_the_treemap_is_switched(opened: Opened, document: dict[str, Any]) -> None:
    def areas() -> list[float]:
        """Of the tiles, in the order of the page."""
        boxes = [frame.bounding_box() for frame in opened.page.locator("#treemap .frame").all()]
        return sorted(box["width"] * box["height"] for box in boxes if box)

    def expected(field: int) -> list[float]:
        values = [tile[field] for tile in document["tiles"]]
        return sorted(sum(areas()) * value / sum(values) for value in values)

    for unit, field in (("inodes", 3), ("bytes", 4), ("inodes", 3)):
        opened.page.locator(f"input[name=area][value={unit}]").check()
        # Frames are drawn two pixels wide, half of it outside.
        assert areas() == pytest.approx(expected(field), rel=0.1, abs=900)
        assert opened.page.locator("input[name=unit]:checked").get_attribute("value") == unit
        check_groups(opened, document, "scripts", document["start"], unit)
    opened.page.locator("#treemap .tile").first.focus()
    assert "sessions" in opened.text("#tile-text") and "_out" in opened.text("#tile-text")
    opened.page.locator("#treemap .tile rect").first.hover(force=True)
    assert opened.text("#tile-text").count(" / ") == 2


def test_the_table_is_sorted(opened: Opened, document: dict[str, Any]) -> None:
    root = document["roots"][0] + "/"
    by_path = {escape(from_json_path(row["path"])).removeprefix(root): row for row in document["top"]}
    columns = {"inodes": "inodes", "on disk": "allocated", "unchanged for": "newest_ns", "status": "status"}
    for head, field in columns.items():
        button = opened.page.get_by_role("button", name=head)
        for _ in range(2):
            button.click()
            column = opened.page.locator(f"#top th:has(button:text('{head}'))")
            down = column.get_attribute("aria-sort") == "descending"
            shown = rows(opened, "top")
            values = [by_path[row[0]][field] for row in shown]
            newest_first = down if field != "newest_ns" else not down
            assert values == sorted((row[field] for row in document["top"]), reverse=newest_first)[: len(values)]
            for row in shown:
                assert row[1:3] == [f"{by_path[row[0]]['inodes']:,}", human_bytes(by_path[row[0]]["allocated"])]


def test_what_is_rarer(browser: Browser, tree: Path, tmp_path: Path) -> None:
    """Faults, a last run, a day on which it is full, a report before, and roots that are refused."""
    made = survey(tree)
    scan = made.plan.scan
    faults = (Fault("open", b"/x/<b>\xff", 13, "Permission denied"), Fault("list", b"/x/y", 5, "Input/output error"))
    plan = replace(made.plan, scan=replace(scan, columns=replace(scan.columns, faults=faults)))
    refused = made.commands._replace(refused="/x belongs to the system")
    report = replace(
        report_of(plan, "30d", refused, 1.0, Control()),
        rate=Rate("last run", 1234, 0.01, 0.0, 0),
        full=(Full("inodes", 10, 1.0, date(2031, 2, 3)), Full("bytes", 10, 1.0, date(2032, 1, 1))),
        since={
            "report": "out.html",
            "now_ns": 10**18,
            "changes": {"sessions": -1200, "inodes": 0, "size": 5_000_000, "archives": 0},
        },
    )
    path = tmp_path / "out.html"
    write_report(report, Target(os.fsencode(path), "html"))
    lines = list(summary_lines(report))
    with Opened(browser, path) as opened:
        assert rows(opened, "errors") == [[fault.op, escape(fault.path), fault.message] for fault in faults]
        matters = opened.texts("#matters li")
        assert matters[:2] == [
            "runark archive will not take these roots: /x belongs to the system",
            "2 things could not be read, to be scanned by somebody who may",
        ]
        assert [line for line in lines if line.startswith("needs")] == [f"needs a person: {what}" for what in matters]
        assert opened.text("#by-time") == "at the rate of the last run, 1,234 archives"
        assert any("rate of the last run (1,234 archives)" in line for line in lines)
        assert "inodes are used up on 2031-02-03, bytes are used up on 2032-01-01." in opened.text("#full")
        assert any("inodes are used up on 2031-02-03" in line for line in lines)
        assert rows(opened, "since") == [["sessions", "\u22121,200"], ["size", "+5.0 MB"]]
        assert opened.complaints == []


def test_hostile_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    root = hostile(tmp_path / "<b>&root")
    report = survey(root)
    path = tmp_path / "out.html"
    write_report(report, Target(os.fsencode(path), "html"))
    with Opened(browser, path) as opened:
        prefix = escape(os.fsencode(root)) + "/"
        names = [escape(group.name).removeprefix(prefix) for group in report.scripts]
        # One line each, as the terminal shows them; inner_text would take spaces together.
        assert opened.page.locator("#scripts td.name").all_text_contents() == names
        top = {escape(row.path).removeprefix(prefix) for row in report.top}
        assert set(opened.page.locator("#top td.name").all_text_contents()) == top
        assert opened.page.locator("script").count() == 2 and opened.page.locator("img, b").count() == 0
        assert opened.complaints == [] and opened.asked == [opened.url]
        # What a name could try is forbidden besides.
        for attempt in ("eval('1')", "fetch('https://example.org')", "new Image().src = 'https://example.org/x.png'"):
            blocked = opened.page.evaluate(
                "(code) => new Promise((done) => { document.addEventListener('securitypolicyviolation',"
                " (event) => done(event.violatedDirective), { once: true });"
                " const script = document.createElement('script'); script.textContent = code;"
                " document.body.append(script); })",
                attempt,
            )
            assert blocked == "script-src-elem"


@pytest.mark.parametrize(
    "context",
    [
        {"color_scheme": "dark"},
        {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
        {"viewport": {"width": 320, "height": 600}},
        {"viewport": {"width": 2560, "height": 1440}},
    ],
)
def test_on_other_screens(browser: Browser, path: Path, document: dict[str, Any], context: dict[str, Any]) -> None:
    with Opened(browser, path, **context) as opened:
        check_first_screen(opened, document, document["start"])
        page = opened.page
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        numbers = page.locator(".cards dd:first-of-type").evaluate_all(
            "(all) => all.every((one) => one.scrollWidth <= one.clientWidth)"
        )
        assert numbers, "a number does not fit"
        ink, paper = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        dark = context.get("color_scheme") == "dark"
        assert (brightness(ink) > brightness(paper)) == dark
        page.emulate_media(media="print", color_scheme=context.get("color_scheme", "light"))
        assert not page.locator("#cut").is_visible() and page.locator("#n-sessions").is_visible()
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert brightness(ink) < 100, "printed in light ink"
        assert opened.complaints == []


def brightness(color: str) -> float:
    return sum(map(float, color[color.index("(") + 1 : -1].split(",")[:3])) / 3


def test_an_empty_report(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    (tmp_path / "tree").mkdir()
    write_report(survey(tmp_path / "tree"), Target(os.fsencode(path), "html"))
    with Opened(browser, path) as opened:
        assert (opened.text("#n-sessions"), opened.text("#n-bytes"), opened.text("#n-time")) == (
            "0",
            "unknown",
            "unknown",
        )
        assert opened.complaints == [] and json.loads(opened.page.locator("#report").inner_text())["cuts"]
