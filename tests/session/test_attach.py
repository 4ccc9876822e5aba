"""One logical run, one directory: children of a session and ranks of a parallel program join it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.runs import Runner

CHILD = """
    import runark as stx

    @stx.session
    def main(CONFIG=stx.INJECTED):
        print("child", CONFIG.ID)
        stx.io.save("c", "child.txt")
        return 3

    if __name__ == "__main__":
        main()
    """


def test_a_child_running_a_decorated_script(run: Runner) -> None:
    run.write(CHILD, "child.py")
    ended = run(
        """
        import os, subprocess, sys
        import runark as stx

        @stx.session
        def main(CONFIG=stx.INJECTED):
            print("parent", CONFIG.ID)
            done = subprocess.run([sys.executable, "child.py"])
            assert done.returncode == 3
            subprocess.run([sys.executable, "child.py"], env={**os.environ, "RUNARK_SESSION": "new"})
            return 0

        main()
        """
    )
    assert ended.code == 0, ended.stderr
    name = ended.session.name.removesuffix("-main")
    lines = ended.log().splitlines()
    assert lines[:2] == [f"parent {name}", f"child {name}"]
    assert (ended.session / "child.txt").read_text() == "c"
    assert [entry["path"] for entry in ended.record["OUTPUTS"]] == ["child.txt"]
    others = list(run.directory.glob("child_out/*/*"))
    assert len(others) == 1 and others[0].parent.name == "FINISHED_ERROR", "RUNARK_SESSION=new makes one of its own"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(run: Runner, method: str) -> None:
    ended = run(
        f"""
        import multiprocessing, os, sys
        import runark as stx

        def work(number):
            stx.io.save(str(number), f"part-{{number}}.txt")
            print("worker", number, flush=True)
            return number * 2

        @stx.session
        def main(CONFIG=stx.INJECTED):
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                print(pool.map(work, range(4)))
            return 0

        if __name__ == "__main__":
            main()
        """
    )
    assert ended.code == 0, ended.stderr
    assert ended.state == "FINISHED_SUCCESS"
    lines = ended.log().splitlines()
    assert sorted(lines[:4]) == [f"worker {number}" for number in range(4)] and lines[4] == "[0, 2, 4, 6]"
    assert sorted(path.name for path in ended.session.glob("*.txt")) == [f"part-{number}.txt" for number in range(4)]
    assert len(ended.record["OUTPUTS"]) == 4


def test_multiprocessing_children_save_into_the_session(run: Runner) -> None:
    """Also spawned ones, which have no memory of it: through a decorated function of their own."""
    ended = run(
        """
        import multiprocessing
        import runark as stx

        @stx.session
        def part(CONFIG=stx.INJECTED):
            stx.io.save("p", "part.txt")

        @stx.session
        def main():
            for method in ("fork", "spawn"):
                process = multiprocessing.get_context(method).Process(target=part)
                process.start(); process.join()
                assert process.exitcode == 0
            return 0

        if __name__ == "__main__":
            main()
        """
    )
    assert ended.code == 0, ended.stderr
    assert (ended.session / "part.txt").read_text() == "p"
    assert len(ended.sessions) == 1


def test_a_forked_child_that_exits_or_is_terminated_ends_nothing(run: Runner) -> None:
    ended = run(
        """
        import os, signal, sys, time
        from runark import session
        CONFIG, *_ = session.start(verbose=False)
        child = os.fork()
        if child == 0:
            sys.exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        child = os.fork()
        if child == 0:
            time.sleep(60)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        child = os.fork()
        if child == 0:
            session.close(CONFIG, exit_status=1)
            os._exit(0)
        os.waitpid(child, 0)
        assert CONFIG.SDIR_RUN.parent.name == "RUNNING" and CONFIG.SDIR_RUN.is_dir()
        print("still here")
        session.close(CONFIG, exit_status=0, verbose=False)
        """
    )
    assert (ended.code, ended.state, ended.log()) == (0, "FINISHED_SUCCESS", "still here\n"), ended.stderr


def test_a_nested_call_belongs_to_the_session(run: Runner) -> None:
    ended = run(
        """
        import runark as stx

        @stx.session
        def inner(CONFIG=stx.INJECTED):
            print("inner", CONFIG.ID)
            return 0

        @stx.session
        def main(CONFIG=stx.INJECTED):
            inner()
            print("outer", CONFIG.ID)
            stx.io.save("x", "after.txt")
            return 0

        main()
        """
    )
    assert ended.code == 0, ended.stderr
    inner, outer = ended.log().splitlines()
    assert inner.split()[1] == outer.split()[1]
    assert (ended.session / "after.txt").exists()


def test_a_start_without_close_is_ended_by_the_next(run: Runner) -> None:
    ended = run(
        """
        from runark import session
        first, *_ = session.start(verbose=False)
        second, *_ = session.start(verbose=False)
        assert first.SDIR_RUN.parent.name == "FINISHED"
        session.close(second, exit_status=0, verbose=False)
        """
    )
    assert ended.code == 0 and "was not closed" in ended.stderr
    assert sorted(path.parent.name for path in ended.sessions) == ["FINISHED", "FINISHED_SUCCESS"]


def test_a_session_that_is_over_is_not_joined(run: Runner, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    ended = run(CHILD, env={"RUNARK_SESSION": os.fspath(gone)})
    assert (ended.code, ended.state) == (3, "FINISHED_ERROR")


def test_a_forked_process_that_outlives_the_session(run: Runner) -> None:
    ended = run(
        """
        import os, time
        import runark as stx

        @stx.session
        def later():
            print("later")

        @stx.session(verbose=True)
        def main():
            return os.fork()

        read, write = os.pipe()
        try:
            main()
        except SystemExit as error:  # the PID of the child is no status of success
            os.close(write); os.read(read, 1)
            raise SystemExit(0)
        os.close(read)
        while list(stx.session.SessionManager().list_sessions().values())[0]["config"].SDIR_RUN.is_dir():
            time.sleep(0.01)
        later()
        """
    )
    assert ended.code == 0, ended.stderr
    assert ended.stderr.count("status") == 1, "the child does not tell of an end that is not its own"
    assert sorted(path.name.partition("-")[2].rpartition("-")[2] for path in ended.sessions) == ["later", "main"]


def test_what_a_process_saves_that_outlives_the_session(run: Runner) -> None:
    """Its session's directory has a new name; none is made under the old one."""
    ended = run(
        """
        import os, time
        import runark as stx

        @stx.session
        def main(CONFIG=stx.INJECTED):
            if os.fork() == 0:
                while CONFIG.SDIR_RUN.is_dir():
                    time.sleep(0.01)
                stx.io.save("late", "late.txt")
                os._exit(0)

        main()
        os.wait()
        """
    )
    assert (ended.code, ended.state, ended.stderr) == (0, "FINISHED_SUCCESS", "")
    assert (ended.out / "late.txt").read_text() == "late"
    assert list((ended.out / "RUNNING").iterdir()) == []


def test_running2finished_leaves_nothing_in_the_environment(run: Runner) -> None:
    ended = run(
        """
        import os
        from runark import session
        CONFIG, *_ = session.start(verbose=False)
        session.running2finished(CONFIG, 0)
        session.close(CONFIG, exit_status=0, verbose=False)
        assert "RUNARK_SESSION" not in os.environ
        """
    )
    assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS"), ended.stderr


# --------------------------------------------------------------------------------------------------- ranks


RANKS = """
    import os, sys, time
    import runark as stx

    @stx.session
    def main(CONFIG=stx.INJECTED):
        print("rank", os.environ.get({variable!r}), CONFIG.ID, flush=True)
        stx.io.save("x", f"rank{os.environ[{variable!r}]}.txt")
        while not all((CONFIG.SDIR_RUN / name).exists() for name in os.environ.get("WAIT_FOR", "").split()):
            time.sleep(0.01)
        return 0

    if __name__ == "__main__":
        main()
    """

LAUNCHERS = {
    "srun": ("SLURM_PROCID", {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "3"}),
    "Open MPI": (
        "OMPI_COMM_WORLD_RANK",
        {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_MCA_ess_base_jobid": "5", "SLURM_PROCID": "0"},
    ),
    "MPICH": ("PMI_RANK", {"PMI_SIZE": "3"}),
    "torchrun": ("RANK", {"WORLD_SIZE": "3", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ranks_share_one_directory(run: Runner, launcher: str) -> None:
    variable, more = LAUNCHERS[launcher]
    text = RANKS.replace("{variable!r}", repr(variable))
    processes = [
        run.begin(text, env={**more, variable: str(rank), "WAIT_FOR": "rank1.txt rank2.txt" if rank == 0 else ""})
        for rank in (2, 1, 0)
    ]
    *_, ended = [run.end(process) for process in processes]
    assert ended.code == 0, ended.stderr
    assert ended.state == "FINISHED_SUCCESS"
    name = ended.session.name.removesuffix("-main")
    assert ended.log() == f"rank 0 {name}\n"
    for rank in (1, 2):
        assert (ended.session / "logs" / f"stdout.rank{rank}.log").read_text() == f"rank {rank} {name}\n"
        assert (ended.session / f"rank{rank}.txt").exists()


def test_a_rank_that_comes_late_finds_the_finished_session(run: Runner) -> None:
    text = RANKS.replace("{variable!r}", "'SLURM_PROCID'")
    common = {"SLURM_JOB_ID": "78", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2"}
    assert run(text, env={**common, "SLURM_PROCID": "0"}).code == 0
    ended = run(text, env={**common, "SLURM_PROCID": "1"})
    assert ended.code == 0, ended.stderr
    assert (ended.session / "rank1.txt").exists()
    other = run(text, env={**common, "SLURM_PROCID": "0", "SLURM_STEP_ID": "1"})
    assert len(other.sessions) == 2, "another step is another run"


def test_a_single_task_leaves_no_note(run: Runner) -> None:
    """A job array has hundred thousands of them."""
    text = RANKS.replace("{variable!r}", "'SLURM_PROCID'")
    ended = run(text, env={"SLURM_PROCID": "0", "SLURM_JOB_ID": "79"})
    assert ended.code == 0
    assert os.listdir(ended.out / "RUNNING") == []
    ended = run(text, env={"SLURM_PROCID": "0", "SLURM_JOB_ID": "79", "SLURM_NTASKS": "1"}, name="other.py")
    assert os.listdir(ended.out / "RUNNING") == []
    assert ended.record["SCHEDULER"] == {"SLURM_JOB_ID": "79", "SLURM_NTASKS": "1"}


def test_rank_0_never_comes(run: Runner) -> None:
    text = RANKS.replace("{variable!r}", "'SLURM_PROCID'")
    text = text.replace("import runark as stx", "import runark as stx, runark.session.attach as a; a.PATIENCE = 0.3")
    ended = run(text, env={"SLURM_PROCID": "1", "SLURM_JOB_ID": "80"})
    assert ended.code == 1
    assert "rank 0 has started no session" in ended.stderr and "RUNARK_SESSION=new" in ended.stderr
    ended = run(text, env={"SLURM_PROCID": "1", "SLURM_JOB_ID": "80", "RUNARK_SESSION": "new"})
    assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS")
