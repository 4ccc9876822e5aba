"""Every example and every command line of the two pages users come from, with only the import changed, and what the
pages say about them."""

from __future__ import annotations

import csv
import re
from datetime import datetime
from pathlib import Path

from support.runs import Runner

# ------------------------------------------------------------------------------------ the decorator's page

MY_SCRIPT = """
    import runark as stx

    def process(data, threshold):
        return data[data["value"] > threshold]

    @stx.session
    def main(
        data_path="data.csv",  # CLI: --data-path data.csv
        threshold=0.5,  # CLI: --threshold 0.7
        CONFIG=stx.INJECTED,  # Auto-injected session config
        plt=stx.INJECTED,  # Pre-configured matplotlib
        logger=stx.INJECTED,  # Session logger
    ):
        '''Analyze experimental data.'''
        data = stx.io.load(data_path)
        result = process(data, threshold)
        stx.io.save(result, "output.csv")
        return 0  # exit code (0 = success)

    if __name__ == "__main__":
        main()  # No arguments triggers CLI mode
    """


def _data(run: Runner, name: str) -> None:
    (run.directory / name).write_text("value\n0.2\n0.4\n0.6\n")


def test_basic_usage(run: Runner) -> None:
    _data(run, "experiment.csv")
    ended = run(MY_SCRIPT, "--data-path", "experiment.csv", "--threshold", "0.3", name="my_script.py")
    assert ended.code == 0, ended.stderr
    assert ended.state == "FINISHED_SUCCESS"
    assert re.fullmatch(r"\d{4}Y-\d\dM-\d\dD-\d\dh\d\dm\d\ds_[0-9A-Za-z]{4}-main", ended.session.name)
    tree = sorted(path.relative_to(ended.session).as_posix() for path in ended.session.rglob("*"))
    assert tree == [
        "CONFIGS", "CONFIGS/CONFIG.pkl", "CONFIGS/CONFIG.yaml", "logs", "logs/stderr.log", "logs/stdout.log",
        "output.csv",
    ]  # fmt: skip
    saved = list(csv.DictReader((ended.session / "output.csv").open()))
    assert [row["value"] for row in saved] == ["0.4", "0.6"]
    assert ended.record["ARGS"] == {"data_path": "experiment.csv", "threshold": 0.3}
    (output,) = ended.record["OUTPUTS"]
    assert output["path"] == "output.csv" and len(output["sha256"]) == 64


def test_help(run: Runner) -> None:
    ended = run(MY_SCRIPT, "--help", name="my_script.py")
    assert ended.code == 0
    for expected in ("Analyze experimental data.", "--data-path", "--threshold", "default: data.csv", "default: 0.5"):
        assert expected in ended.stdout
    for hidden in ("CONFIG", "plt", "logger", "INJECTED"):
        assert hidden not in ended.stdout
    assert not ended.out.exists(), "no directory"


def test_usage_error(run: Runner) -> None:
    ended = run(MY_SCRIPT, "--treshold", "0.3", name="my_script.py")
    assert ended.code == 2
    assert not ended.out.exists()


def test_called_with_arguments_it_is_the_plain_function(run: Runner) -> None:
    ended = run(MY_SCRIPT.replace("main()  # No", "assert main(data_path='x.csv') == 0 #"), name="my_script.py")
    assert "x.csv" in ended.stderr and ended.code == 1
    _data(run, "x.csv")
    ended = run(MY_SCRIPT.replace("main()  # No", "assert main(data_path='x.csv') == 0 #"), name="my_script.py")
    assert ended.code == 0, ended.stderr
    assert ended.sessions == []
    assert (ended.out / "output.csv").exists()


def test_output_directory_structure(run: Runner) -> None:
    """CONFIGS, logs, output.csv, sine.png and the data of the figure."""
    ended = run(
        """
        import math
        import runark as stx

        @stx.session
        def main(plt=stx.INJECTED):
            x = [number / 10 for number in range(63)]
            fig, ax = plt.subplots()
            ax.plot(x, [math.sin(value) for value in x], label="sine")
            stx.io.save(fig, "sine.png")
            stx.io.save([{"a": 1, "b": 2.5}], "output.csv")
            print("out"); import sys; print("err", file=sys.stderr)
            return 0

        if __name__ == "__main__":
            main()
        """,
        name="my_script.py",
    )
    assert ended.code == 0, ended.stderr
    found = sorted(path.relative_to(ended.session).as_posix() for path in ended.session.rglob("*") if path.is_file())
    assert found == [
        "CONFIGS/CONFIG.pkl", "CONFIGS/CONFIG.yaml", "logs/stderr.log", "logs/stdout.log", "output.csv", "sine.csv",
        "sine.png",
    ]  # fmt: skip
    assert (ended.session / "sine.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((ended.session / "sine.csv").open()))
    assert list(rows[0]) == ["sine_x", "sine_y"]
    assert len(rows) == 63 and float(rows[10]["sine_y"]) == __import__("math").sin(1.0)
    assert (ended.session / "output.csv").read_text() == "a,b\n1,2.5\n"
    assert ended.log() == "out\n" and ended.log("stderr") == "err\n"
    assert {entry["path"] for entry in ended.record["OUTPUTS"]} == {"sine.png", "sine.csv", "output.csv"}


def test_minimal_example(run: Runner) -> None:
    ended = run(
        """
        import runark as stx

        @stx.session
        def main(n=100, CONFIG=stx.INJECTED):
            '''Minimal example -- only CONFIG injected.'''
            print(f"Session ID: {CONFIG.ID}")
            print(f"Output dir: {CONFIG.SDIR_RUN}")
            return 0

        main()
        """
    )
    lines = ended.log().splitlines()
    assert lines[0] == f"Session ID: {ended.session.name.removesuffix('-main')}"
    assert lines[1] == f"Output dir: {ended.out / 'RUNNING' / ended.session.name}"


def test_config_object(run: Runner) -> None:
    (run.directory / "config").mkdir()
    (run.directory / "config" / "EXPERIMENT.yaml").write_text("learning_rate: 0.001\nbatch_size: 32\n")
    (run.directory / "config" / "MODEL.yaml").write_text("hidden_size: 128\n")
    ended = run(
        """
        import os
        from pathlib import Path
        import runark as stx

        @stx.session
        def main(data_path="data.csv", CONFIG=stx.INJECTED):
            assert CONFIG["MODEL"]["hidden_size"] == CONFIG.MODEL.hidden_size == 128
            assert CONFIG.EXPERIMENT.learning_rate == 0.001
            assert CONFIG.EXPERIMENT.batch_size == 32
            assert CONFIG.PID == os.getpid()
            assert CONFIG.FILE == Path(__file__).resolve()
            assert CONFIG.SDIR_OUT == Path(__file__).resolve().with_name("job_out")
            assert CONFIG.SDIR_RUN.parent == CONFIG.SDIR_OUT / "RUNNING"
            assert CONFIG.START_DATETIME.year >= 2026
            assert CONFIG.ARGS == {"data_path": "data.csv"}
            assert CONFIG.EXIT_STATUS is None
            return 0

        main()
        """
    )
    assert ended.code == 0, ended.stderr
    assert ended.record["EXPERIMENT"] == {"learning_rate": 0.001, "batch_size": 32}
    assert ended.pickled["MODEL"] == {"hidden_size": 128}
    assert isinstance(ended.pickled["SDIR_RUN"], Path) and isinstance(ended.pickled["START_DATETIME"], datetime)


def test_decorator_options(run: Runner) -> None:
    ended = run(
        """
        import runark as stx

        @stx.session(verbose=True, agg=False, notify=True, sdir_suffix="v2")
        def main(n=1):
            pass

        main()
        """
    )
    assert ended.code == 0, ended.stderr
    assert ended.session.name.endswith("-v2")
    assert "RUNARK_NOTIFY_URL" in ended.stderr, "not configured is a warning"
    assert f"{ended.session}" in ended.stderr


def test_bare_decorator(run: Runner) -> None:
    _data(run, "data.csv")
    text = """
        import runark as stx

        def process(data, threshold):
            return data

        @stx.session
        def analyze(data_path: str, threshold: float = 0.5):
            '''Analyze data file.'''
            data = stx.io.load(data_path)
            result = process(data, threshold)
            stx.io.save(result, "output.csv")
            return 0

        if __name__ == '__main__':
            analyze()  # CLI mode with session management
        """
    ended = run(text, "--data-path", "data.csv", "--threshold", "0.7", name="script.py")
    assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS"), ended.stderr
    assert ended.session.name.endswith("-analyze")
    assert ended.record["ARGS"] == {"data_path": "data.csv", "threshold": 0.7}
    ended = run(text, name="script.py")
    assert ended.code == 2 and "--data-path" in ended.stderr


def test_decorator_with_globals(run: Runner) -> None:
    ended = run(
        """
        import runark as stx

        @stx.session(verbose=True, notify=False)
        def train_model(model_name: str, epochs: int = 10):
            '''Train ML model.'''
            # Available as globals: CONFIG, plt, COLORS, rngg, logger.
            logger.info(f"Session ID: {CONFIG['ID']}")
            logger.info(f"Output directory: {CONFIG['SDIR_RUN']}")
            plt.plot([1, 2], color=COLORS.blue)
            print(rngg("model").random())
            return 0

        if __name__ == '__main__':
            train_model()
            assert "logger" not in globals() and "plt" not in globals()
        """,
        "--model-name",
        "m",
    )
    assert ended.code == 0, ended.stderr
    name = ended.session.name.removesuffix("-train_model")
    assert f"INFO: Session ID: {name}" in ended.log("stderr")
    assert f"INFO: Output directory: {ended.out}/RUNNING/" in ended.log("stderr")


def test_run(run: Runner) -> None:
    text = """
        from runark import session
        import runark as stx

        def main(args):
            print(vars(args))
            return {status}

        if __name__ == '__main__':
            assert stx.session.run(main{more}) == 0
        """
    ended = run(text.replace("{status}", "0").replace("{more}", ""))
    assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS"), ended.stderr
    ended = run(text.replace("{status}", "5").replace("{more}", ""), name="other.py")
    assert (ended.code, ended.state) == (5, "FINISHED_ERROR")
    parse = ", parse_args=lambda: __import__('argparse').Namespace(n=3), verbose=True, sdir_suffix='x'"
    ended = run(text.replace("{status}", "0").replace("{more}", parse), name="third.py")
    assert (ended.code, ended.log()) == (0, "{'n': 3}\n"), ended.stderr
    assert ended.record["ARGS"] == {"n": 3} and ended.session.name.endswith("-x")


def test_running2finished(run: Runner) -> None:
    ended = run(
        """
        import sys
        import runark as stx
        from runark.session import running2finished
        CONFIG, *_ = stx.session.start(sys, verbose=False)
        print("moved under way")
        CONFIG = running2finished(CONFIG, exit_status=0, remove_src_dir=True, max_wait=60)
        assert CONFIG.SDIR_RUN.parent.name == "FINISHED_SUCCESS" and CONFIG.SDIR_RUN.is_dir()
        stx.session.close(CONFIG, exit_status=0)
        """
    )
    assert (ended.code, ended.state, ended.log()) == (0, "FINISHED_SUCCESS", "moved under way\n"), ended.stderr
    assert ended.record["EXIT_STATUS"] == 0


def test_archive_functions(run: Runner) -> None:
    ended = run(
        """
        import runark as stx
        @stx.session(archive_format="tar.gz")
        def main():
            print("kept")
        main()
        """
    )
    assert ended.code == 0, ended.stderr
    (archive,) = (ended.out / "FINISHED_SUCCESS").iterdir()
    assert archive.name.endswith("-main.tar.gz") and ended.sessions == []
    text = f"""
        import runark as stx
        root = {str(ended.out / "FINISHED_SUCCESS")!r}
        archive = {str(archive)!r}
        path = stx.session.restore_session_archive(archive, remove_archive=True)
        assert (path / "logs" / "stdout.log").read_text() == "kept\\n"
        summary = stx.session.archive_existing(root, older_than_days=None, format="tar.gz", pattern=None, dry_run=False)
        assert summary["archived"] == 1, summary
        summary = stx.session.restore_existing(root, dry_run=False, remove_archive=True)
        assert summary["restored"] == 1, summary
        assert stx.session.archive_session_dir(path, format="tar.gz", remove_src=True, compresslevel=1).exists()
        """
    again = run(text, name="again.py")
    assert again.code == 0, again.stderr


# ----------------------------------------------------------------------------- the page of start and close


def test_quick_start(run: Runner) -> None:
    ended = run(
        """
        import sys
        import matplotlib.pyplot as plt
        from runark import session

        CONFIG, sys.stdout, sys.stderr, plt, CC, rng_manager = session.start(sys, plt)

        # Your experiment code here
        print("experiment")
        fig, ax = plt.subplots()
        ax.plot([1, 2, 3], color=CC["red"])

        session.close(CONFIG)
        """
    )
    assert ended.code == 0, ended.stderr
    assert ended.state == "FINISHED"
    assert re.fullmatch(r"\d{4}Y-\d\dM-\d\dD-\d\dh\d\dm\d\ds_[0-9A-Za-z]{4}", ended.session.name), "no suffix"
    assert "experiment\n" in ended.log()
    assert ":)" in ended.stderr
    for key in ("ID", "PID", "FILE", "ARGS", "EXIT_STATUS"):
        assert key in ended.record


def test_custom_save_directory(run: Runner, tmp_path: Path) -> None:
    custom = tmp_path / "custom" / "path"
    text = f"""
        import sys
        import matplotlib.pyplot as plt
        from runark import session
        CONFIG, *_ = session.start(sys, plt, sdir="{custom}/")
        print("here")
        session.close(CONFIG, message="done", notify=False, verbose=True, exit_status=0)
        """
    ended = run(text)
    assert ended.code == 0, ended.stderr
    assert (custom / "logs" / "stdout.log").read_text() == "here\n"
    assert "done" in ended.stderr
    assert not ended.out.exists()
    again = run(text)
    assert again.code == 1 and "holds a session already" in again.stderr.splitlines()[-1]
    assert (custom / "logs" / "stdout.log").read_text() == "here\n", "the first one is untouched"


def test_debug_mode(run: Runner) -> None:
    (run.directory / "config").mkdir()
    (run.directory / "config" / "IS_DEBUG.yaml").write_text("IS_DEBUG: true\n")
    (run.directory / "config" / "MODEL.yaml").write_text("size: 100\nDEBUG_size: 2\n")
    ended = run(
        """
        from runark import session
        CONFIG, *_ = session.start()
        assert CONFIG.MODEL.size == 2 and CONFIG.IS_DEBUG is True
        session.close(CONFIG, exit_status=0)
        """
    )
    assert ended.code == 0, ended.stderr
    assert ended.session.name.startswith("DEBUG_2")
    assert ended.record["ID"].startswith("DEBUG_2")


def test_session_manager(run: Runner) -> None:
    ended = run(
        """
        from runark import session
        from runark.session import SessionManager

        CONFIG, *_ = session.start()
        session_id = CONFIG.ID
        manager = SessionManager()
        active = manager.get_active_sessions()
        info = manager.get_session(session_id)
        assert list(active) == [session_id]
        assert info["status"] == "running" and info["script_path"] == str(CONFIG.FILE) and info["config"] is CONFIG
        session.close(CONFIG, exit_status=3)
        assert manager.get_active_sessions() == {}
        info = manager.get_session(session_id)
        assert info["status"] == "error" and info["exit_code"] == 3 and info["end_time"] >= info["start_time"]
        assert list(manager.list_sessions()) == [session_id]
        assert manager.get_session("nobody") == {}
        """
    )
    assert ended.code == 0, ended.stderr


def test_configuration_object_of_the_second_page(run: Runner) -> None:
    ended = run(
        """
        import argparse
        from pathlib import Path
        from runark import session
        CONFIG, *_ = session.start(args=argparse.Namespace(n=4))
        assert CONFIG.START_TIME == CONFIG.START_DATETIME
        assert CONFIG.SDIR == str(CONFIG.SDIR_RUN) + "/" and CONFIG.SDIR_PATH == CONFIG.SDIR_RUN
        assert CONFIG["END_TIME"] is None and CONFIG.RUN_TIME is None
        assert CONFIG.ARGS.n == 4 and CONFIG.args.n == 4
        session.close(CONFIG)
        assert CONFIG.END_TIME is not None and CONFIG.RUN_TIME == "00:00:00"
        assert CONFIG.EXIT_STATUS is None
        """
    )
    assert ended.code == 0, ended.stderr


def test_matplotlib_integration(run: Runner) -> None:
    ended = run(
        """
        import sys
        import matplotlib.pyplot as plt
        from runark import session
        before = plt.rcParams["figure.figsize"]
        CONFIG, sys.stdout, sys.stderr, plt, CC, rng_manager = session.start(
            sys, plt,
            fig_size_mm=(160, 100),
            dpi_save=300,
            hide_top_right_spines=True,
            alpha=0.9
        )
        rc = plt.rcParams
        assert [round(side * 25.4) for side in rc["figure.figsize"]] == [160, 100]
        assert rc["savefig.dpi"] == 300 and rc["figure.dpi"] == 100
        assert rc["axes.spines.top"] is False and rc["axes.spines.right"] is False
        assert rc["lines.linewidth"] == 1.0 and rc["axes.labelsize"] == "small" and rc["figure.autolayout"] is False
        assert CC.blue[3] == 0.9 and CC["gray"] == CC["grey"]
        assert rc["axes.prop_cycle"].by_key()["color"][0] == CC.blue
        session.close(CONFIG)
        assert plt.rcParams["figure.figsize"] == before
        """
    )
    assert ended.code == 0, ended.stderr


def test_random_state_management(run: Runner) -> None:
    text = """
        import random, sys
        import numpy as np
        from runark import session
        CONFIG, *_, rng = session.start(sys, seed=42)
        random_array = rng.random((10, 10))
        print(random_array.sum(), random.random(), np.random.random(), rng("b").random(), rng("a").random())
        session.close(CONFIG)
        """
    first, second = run(text), run(text, name="two.py")
    assert first.code == 0, first.stderr
    assert first.log() == second.log() != ""
    other = run(text.replace("seed=42", "seed=43"), name="three.py")
    assert other.log() != first.log()


def test_fix_seeds(run: Runner) -> None:
    ended = run(
        """
        import random
        import runark as stx
        rngg = stx.repro.fix_seeds()
        first = random.random(), rngg("a").random()
        rngg = stx.repro.fix_seeds()
        assert (random.random(), rngg("a").random()) == first
        """
    )
    assert ended.code == 0, ended.stderr


def test_import_forms(run: Runner) -> None:
    ended = run(
        """
        import runark as stx
        from runark import session, INJECTED
        from runark.session import session as decorator, start, close, run, SessionManager
        import runark.session
        import runark.session.reconcile, runark.archive
        assert stx.session is session is runark.session
        assert callable(session) and callable(stx.session.reconcile) and stx.session.INJECTED is INJECTED
        for name in stx.session.__all__:
            assert getattr(stx.session, name) is not None
        for name in stx.__all__:
            assert getattr(stx, name) is not None
        assert decorator(lambda: 0)._is_session_wrapped
        """
    )
    assert ended.code == 0, ended.stderr


def test_every_parameter_of_start_has_its_effect(run: Runner, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    (chosen / "logs").mkdir(parents=True)
    (chosen / "logs" / "stdout.log").write_text("of another time\n")
    ended = run(
        f"""
        import os, random, sys
        import matplotlib.pyplot as plt
        from runark import session
        import numpy as np

        def begin():
            return session.start(
                sys=sys, plt=plt, file="other.py", sdir="{chosen}", sdir_suffix=None, args={{"n": 1}}, os=os,
                random=random, np=np, torch=None, seed=7, agg=True, fig_size_mm=(50, 25), fig_scale=2.0,
                dpi_display=50, dpi_save=75,
                fontsize=11, autolayout=True, show_execution_flow=True, hide_top_right_spines=False, alpha=0.5,
                line_width=3.0, clear_logs=True, verbose=False)

        CONFIG, out, err, plt, COLORS, rng = begin()
        rc = plt.rcParams
        assert out is sys.stdout and err is sys.stderr
        assert [round(side * 25.4) for side in rc["figure.figsize"]] == [100, 50]
        assert (rc["figure.dpi"], rc["savefig.dpi"], rc["font.size"], rc["axes.labelsize"]) == (50, 75, 11, 11)
        assert rc["figure.autolayout"] is True and rc["axes.spines.top"] is True and rc["lines.linewidth"] == 3.0
        assert COLORS.red[3] == 0.5 and plt.get_backend().lower() == "agg" and rng.seed == 7
        assert CONFIG.ARGS == {{"n": 1}} and CONFIG.FILE.name == "other.py" and CONFIG.SEED == 7
        assert CONFIG.SDIR_RUN == CONFIG.SDIR_PATH and str(CONFIG.SDIR_RUN) == "{chosen}"
        print("new")
        session.close(CONFIG, exit_status=0, verbose=False)
        """
    )
    assert ended.code == 0, ended.stderr
    assert (chosen / "logs" / "stdout.log").read_text() == "new\n", "cleared"
    assert "begin()" in ended.stderr, "the flow that led here"


def test_close_archives(run: Runner) -> None:
    ended = run(
        """
        from runark import session
        CONFIG, *_ = session.start(verbose=False)
        print("x")
        session.close(CONFIG, exit_status=0, archive_format="tar.xz", verbose=True)
        CONFIG, *_ = session.start(verbose=False, archive_format="tar")
        session.close(CONFIG, exit_status=1)
        CONFIG, *_ = session.start(verbose=False)
        session.close(CONFIG, exit_status=1, archive_format="zip")
        """
    )
    assert ended.code == 1 and "InvalidArgument" in ended.stderr and "'zip'" in ended.stderr
    endings = sorted((path.parent.name, path.suffix) for path in ended.out.glob("FINISHED_*/*.tar*"))
    assert endings == [("FINISHED_ERROR", ".tar"), ("FINISHED_SUCCESS", ".xz")]
    assert ".tar.xz" in ended.stderr.splitlines()[0]


def test_a_session_that_cannot_be_archived_stays_whole(run: Runner) -> None:
    ended = run(
        """
        import socket
        import runark as stx
        @stx.session(archive_format="tar.gz")
        def main(CONFIG=stx.INJECTED):
            socket.socket(socket.AF_UNIX).bind("s"); import os; os.rename("s", CONFIG.SDIR_RUN / "s")
        main()
        """
    )
    assert ended.code == 1 and "cannot be archived" in ended.stderr
    assert ended.state == "FINISHED_SUCCESS" and (ended.session / "s").is_socket()


def test_only_what_is_used_is_loaded(run: Runner) -> None:
    ended = run(
        """
        import runark as stx
        @stx.session
        def main(CONFIG=stx.INJECTED, rngg=stx.INJECTED):
            import sys
            names = ("matplotlib", "numpy", "pandas", "argparse", "logging", "apprise")
            print([name for name in names if name in sys.modules])
        main()
        """
    )
    assert ended.log() == "[]\n", ended.stderr


def test_cwd_and_logging_are_put_back(run: Runner) -> None:
    ended = run(
        """
        import logging, os
        import runark as stx
        @stx.session
        def main(CONFIG=stx.INJECTED):
            os.chdir(CONFIG.SDIR_RUN)
            logging.basicConfig(filename="mine.log")
            logging.warning("inside")
        here = os.getcwd()
        main()
        assert os.getcwd() == here and logging.root.handlers == []
        main()
        """
    )
    assert ended.code == 0, ended.stderr
    assert [(session / "mine.log").read_text() for session in ended.sessions] == ["WARNING:root:inside\n"] * 2


def test_without_matplotlib_the_error_says_what_to_install(run: Runner) -> None:
    ended = run(
        """
        import sys
        sys.modules["matplotlib"] = None
        import runark as stx
        CONFIG = "mine"
        @stx.session
        def main(plt=stx.INJECTED): ...
        try:
            main()
        except ImportError as error:
            print(error)
        assert CONFIG == "mine" and "rngg" not in globals()
        """
    )
    assert ended.code == 0, ended.stderr
    assert "pip install 'runark[figures]'" in ended.stdout
    assert ended.state == "FINISHED_ERROR" and "runark[figures]" in ended.log("stderr")
