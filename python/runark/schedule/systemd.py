"""A service and a timer for systemd, of the system or of a user."""

from __future__ import annotations

import re

from runark.schedule.job import Job

__all__ = ["units"]

_PLAIN = re.compile(r"[A-Za-z0-9_./+@:,=-]+")
_SYSTEM = "/etc/systemd/system"
_USER = "~/.config/systemd/user"


def units(job: Job, *, user: bool) -> str:
    """Both files, each after a comment with its name, and before them how to install them."""
    where, control = (_USER, "systemctl --user") if user else (_SYSTEM, "systemctl")
    lines = [
        f"# Two files for {where}. Then: {control} daemon-reload; {control} enable --now {job.name}.timer",
    ]
    if user:
        lines.append("# So that it also runs while you are not logged in: loginctl enable-linger")
    lines += [
        "",
        f"# ---- {where}/{job.name}.service",
        "[Unit]",
        "Description=Archive old session directories (runark nightly)",
    ]
    if not user:
        lines.append("After=local-fs.target remote-fs.target nss-user-lookup.target")
    lines += [
        "",
        "[Service]",
        "Type=oneshot",
        "ExecStart=" + " ".join(_command(job.words)),
        "# 75: the time was over, the next run goes on.",
        "SuccessExitStatus=75",
        "Nice=10",
        "IOSchedulingClass=idle",
        "# Only runark itself is asked to stop; it ends its workers.",
        "KillMode=mixed",
        "TimeoutStopSec=90",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictRealtime=yes",
        "",
        f"# ---- {where}/{job.name}.timer",
        "[Unit]",
        f"Description=Run {job.name} every night",
        "",
        "[Timer]",
        f"OnCalendar=*-*-* {job.at}:00",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join(lines) + "\n"


def _command(words: tuple[str, ...]) -> list[str]:
    # The path of the program itself may not hold everything, whatever it is escaped with; arguments of env may.
    return [_quoted(word) for word in (words if _PLAIN.fullmatch(words[0]) else ("/usr/bin/env", *words))]


def _quoted(word: str) -> str:
    """The word in double quotes: specifiers (%), variables ($) and escapes taken as they are."""
    return '"' + "".join(_escaped(byte) for byte in word.encode("utf-8", "surrogateescape")) + '"'


def _escaped(byte: int) -> str:
    char = chr(byte)
    if char in "%$":
        return char * 2
    if char in '"\\':
        return "\\" + char
    return char if " " <= char <= "~" else f"\\x{byte:02x}"
