"""What a session costs a script: import, --help, a trivial run, one with figures, the end of a large one.

Bars: `import runark` 30 ms and a trivial session 60 ms above `python -c pass`, 20x the peer's trivial session, 5 ms to
finish 200 MB. Whole processes, but for finishing: there both packages' `running2finished` is timed by the script's own
clock. Both interpreters are given a first run, so that compiled modules are there. Checked first: both leave one
finished session with logs and configuration.
"""

from __future__ import annotations

from pathlib import Path

from context import Setup, own_clock, remove
from harness import Book, Contender, Failed

TRIVIAL = """
from {package} import session
@session
def main(n: int = 1):
    return 0
if __name__ == "__main__":
    main()
"""
FIGURE = """
import {package} as stx
from {package} import session
@session
def main(plt=stx.INJECTED):
    fig, ax = plt.subplots()
    ax.plot([1, 2, 3])
    return 0
if __name__ == "__main__":
    main()
"""
FINISH = """
import json, pathlib, shutil, sys, time
from {module} import running2finished
out = pathlib.Path(__file__).resolve().with_suffix("")
run = out / "RUNNING" / "2026Y-02M-13D-14h30m15s_Z5MR"
(run / "logs").mkdir(parents=True)
{fill}
config = {{"SDIR_RUN": run, "ID": run.name}}
begin = time.perf_counter()
running2finished(config, exit_status=0)
seconds = time.perf_counter() - begin
assert not run.exists() and (out / "FINISHED_SUCCESS" / run.name / "logs").is_dir()
shutil.rmtree(out)
print(json.dumps({{"seconds": seconds}}))
"""
LARGE = '(run / "data.bin").write_bytes(bytes(range(250)) * 800_000)'
MANY = 'for number in range(3000):\n    (run / f"{number}.txt").write_text("x" * 100)'
PEER, MODULE = "scitex-session", "scitex_session"


def run(setup: Setup, book: Book) -> None:
    work = setup.work / "scripts"
    work.mkdir()
    # The peer keeps notes below the home directory: it gets one of its own.
    python = {"runark": setup.python, PEER: str(setup.peers.scitex_python)}
    made: list[Contender] = [Contender("python -c pass", (setup.python, "-c", "pass"))]
    made.append(Contender("import runark", (setup.python, "-c", "import runark")))
    made.append(Contender(f"import {MODULE}", (python[PEER], "-c", f"import {MODULE}")))
    for who, package, module in (("runark", "runark", "runark.session"), (PEER, MODULE, MODULE)):
        texts = {
            "trivial": TRIVIAL.format(package=package),
            "figure": FIGURE.format(package=package),
            "finish-200-MB": FINISH.format(module=module, fill=LARGE),
            "finish-3000-files": FINISH.format(module=module, fill=MANY),
        }
        for name, text in texts.items():
            script = work / f"{who}-{name}.py"
            script.write_text(text)
            made.append(_contender(setup, who, name, python[who], script))
        made.append(_contender(setup, who, "help", python[who], work / f"{who}-trivial.py", "--help"))
    for contender in made:
        book.run("session-first", contender, 0)
    for who in ("runark", PEER):
        _check(work / f"{who}-trivial_out", book, who)
    found = book.rounds("session", made, setup.rounds)
    book.above("session", "import runark", "python -c pass", found, 30)
    book.above("session", "runark trivial", "python -c pass", found, 60)
    book.above("session", "runark help", "python -c pass", found)
    book.above("session", "runark figure", "python -c pass", found)
    book.own_time("session", "runark finish-200-MB", found, 5)
    book.quicker("session", "runark trivial", f"{PEER} trivial", found, 20)
    book.quicker("session", "import runark", f"import {MODULE}", found)
    for name in ("help", "figure"):
        book.quicker("session", f"runark {name}", f"{PEER} {name}", found)
    for name in ("finish-200-MB", "finish-3000-files"):
        book.own_ratio("session", f"runark {name}", f"{PEER} {name}", found)
    remove(work)


def _contender(setup: Setup, who: str, name: str, python: str, script: Path, *words: str) -> Contender:
    environment = {"HOME": str(setup.work), "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(setup.work / "matplotlib")}
    reported = own_clock if name.startswith("finish") else None
    return Contender(f"{who} {name}", (python, str(script), *words), env=environment, reported=reported)


def _check(out: Path, book: Book, who: str) -> None:
    found = sorted(path.relative_to(out).parts[2:] for path in out.glob("FINISHED_SUCCESS/*/*/*"))
    wanted = [
        ("CONFIGS", "CONFIG.pkl"), ("CONFIGS", "CONFIG.yaml"), ("logs", "stderr.log"), ("logs", "stdout.log"),
    ]  # fmt: skip
    if found != wanted:
        raise Failed(f"{who}: the trivial session left {found}")
    book.note(f"checked: {who}: the trivial session left its logs and configuration in FINISHED_SUCCESS")
