"""Hooks, observers, messages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runark.session import notify
from support.runs import Runner

HOOKS = """
    import runark as stx
    from runark.session import register_session_start_hook, register_session_close_hook, unregister_session_close_hook

    def started(*arguments):
        print("start", arguments[0], arguments[1], sorted(arguments[2]))

    def closed(*arguments):
        print("close", *arguments)

    def broken(*arguments):
        raise RuntimeError("a hook's own trouble")

    for hook in (started, broken, started):
        register_session_start_hook(hook)
    for hook in (broken, closed, closed):
        register_session_close_hook(hook)

    @stx.session
    def main(CONFIG=stx.INJECTED):
        print("body", CONFIG.ID)
        return {status}

    if __name__ == "__main__":
        main()
        unregister_session_close_hook(closed)
        main()
    """


def test_hooks_are_called_once_and_cannot_break_anything(run: Runner) -> None:
    ended = run(HOOKS.replace("{status}", "0"))
    assert ended.code == 0, ended.stderr
    first, second = sorted(ended.sessions, key=lambda path: path.stat().st_mtime_ns)
    name = first.name.removesuffix("-main")
    lines = (first / "logs" / "stdout.log").read_text().splitlines()
    assert lines == [f"start {name} {run.directory / 'job.py'} ['directory']", f"body {name}", "close success 0"]
    assert "a hook's own trouble" in (first / "logs" / "stderr.log").read_text()
    assert "close" not in (second / "logs" / "stdout.log").read_text()
    ended = run(HOOKS.replace("{status}", "4"), name="fails.py")
    assert ended.log().splitlines()[-1] == "close error 4"


def test_observers_of_installed_packages(run: Runner) -> None:
    info = run.directory / "watcher-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: watcher\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[runark.observers]\none = watcher:observe\ntwo = watcher:broken\nthree = nowhere:x\n"
    )
    run.write(
        "from runark.session import register_session_start_hook\n"
        "def observe():\n    register_session_start_hook(lambda *_: print('seen'))\n"
        "def broken():\n    raise ValueError('observer')\n",
        "watcher.py",
    )
    ended = run("import runark as stx\n@stx.session\ndef main(): ...\nmain(); main()\n")
    assert ended.code == 0, ended.stderr
    assert [(session / "logs" / "stdout.log").read_text() for session in ended.sessions] == ["seen\n", "seen\n"]
    assert "nowhere" in ended.stderr and "ValueError: observer" in ended.stderr


class Service:
    """apprise, as far as it is used."""

    accepted = True

    def __init__(self) -> None:
        self.urls: list[str] = []

    def add(self, url: str) -> bool:
        self.urls.append(url)
        return url.startswith("good")

    def notify(self, title: str, body: str) -> bool:
        if body == "raise":
            raise ConnectionError("no network")
        return Service.accepted


def test_a_hook_that_exits_is_harmless(run: Runner) -> None:
    ended = run(
        """
        import sys
        import runark as stx
        stx.session.register_session_close_hook(lambda *_: sys.exit(9))

        @stx.session
        def main():
            return 0

        main()
        """
    )
    assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS") and "SystemExit: 9" in ended.stderr


def test_messages_never_change_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("apprise")
    module.Apprise = Service  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "apprise", module)
    monkeypatch.delenv("RUNARK_NOTIFY_URL", raising=False)
    with pytest.warns(RuntimeWarning, match="RUNARK_NOTIFY_URL"):
        notify.send("t", "b")
    monkeypatch.setenv("RUNARK_NOTIFY_URL", "good://a bad://b")
    with pytest.warns(RuntimeWarning, match="does not understand 1"):
        notify.send("t", "b")
    monkeypatch.setenv("RUNARK_NOTIFY_URL", "good://a")
    notify.send("t", "b")
    with pytest.warns(RuntimeWarning, match="no network"):
        notify.send("t", "raise")
    monkeypatch.setattr(Service, "accepted", False)
    with pytest.warns(RuntimeWarning, match="not accepted"):
        notify.send("t", "b")
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.warns(RuntimeWarning, match="pip install"):
        notify.send("t", "b")


def test_a_message_is_really_sent(run: Runner, tmp_path: Path) -> None:
    """Through apprise, to a server of our own."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ended = run(
        "import runark as stx\n@stx.session(notify=True)\ndef main():\n    return 3\nmain()\n",
        env={"RUNARK_NOTIFY_URL": f"json://127.0.0.1:{server.server_port}/"},
    )
    server.shutdown()
    assert (ended.code, ended.stderr) == (3, "")
    assert len(bodies) == 1 and b"status 3" in bodies[0] and b"FINISHED_ERROR" in bodies[0]
