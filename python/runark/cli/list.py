"""`runark list`: what archives hold, by their seals or member by member."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from runark.archive.list import ArchiveList, Listed, list_archive, list_members, member_json
from runark.cli import exit_codes
from runark.cli.options import Common, common_options, json_option, limit_option, limits_options, paths_argument
from runark.cli.work import finish, tell, tell_faults, working
from runark.engine.protocol import Fault, Limits, Member
from runark.errors import RunarkError
from runark.names import escape, json_path

__all__ = ["list_"]


@click.command("list")
@paths_argument("PATH")
@click.option("--long", "-l", "long_", is_flag=True, help="The members of each archive; reads it through.")
@limits_options
@limit_option(0)
@json_option
@click.option("-0", "nul", is_flag=True, help="Only the paths of the archives, as they are, NUL after each.")
@common_options
def list_(
    path: tuple[bytes, ...], long_: bool, limits: Limits, limit: int, as_json: bool, nul: bool, common: Common
) -> None:
    """Tell what archives hold. PATH is an archive, or a directory searched for archived sessions at any depth.

    Sizes are taken from the seals, without decoding: claims, which `runark verify` proves. Nothing is changed.
    """
    if nul and (as_json or long_):
        raise click.UsageError("-0 excludes --json and --long")
    with working(common.quiet, unit="archives") as work:
        found = list_archive(
            *path,
            layouts=common.layouts,
            config=common.config,
            jobs=common.jobs,
            engine=common.engine,
            control=work.control,
        )
    unread = _Unread()
    if nul:
        sys.stdout.buffer.write(b"".join(archive + b"\0" for archive in found.paths))
    elif long_:
        _write_members(found, limits, as_json, unread)
    else:
        _write_seals(found, limit, as_json, unread)
    tell_faults(found.faults)
    finish(exit_codes.PARTIAL if found.faults or unread.number else exit_codes.OK, work.signals)


class _Unread:
    """Counts and tells the archives that could not be read."""

    number = 0

    def seen(self, listed: Iterator[Listed]) -> Iterator[Listed]:
        for one in listed:
            if isinstance(one.seal, Fault):
                self.tell(f"cannot {one.seal.op} {escape(one.path)}: {escape(one.seal.message)}")
            yield one

    def tell(self, text: str) -> None:
        self.number += 1
        tell(text)


def _write_seals(found: ArchiveList, limit: int, as_json: bool, unread: _Unread) -> None:
    listed = unread.seen(iter(found))
    if as_json:
        from runark.report.json import write_document

        write_document(sys.stdout, found.head_json(), rows=(one.to_json() for one in listed))
    else:
        from runark.report.text import list_lines, write_lines

        write_lines(sys.stdout, list_lines(listed, limit))


def _write_members(found: ArchiveList, limits: Limits, as_json: bool, unread: _Unread) -> None:
    from runark.report.json import write_document
    from runark.report.text import member_lines, write_lines

    def read() -> Iterator[tuple[bytes, list[Member]]]:
        for path in found.paths:
            try:
                yield path, list_members(path, limits=limits, engine=found.engine)
            except RunarkError as error:
                unread.tell(str(error))

    if as_json:
        rows = (
            {"path": json_path(path), "members": [member_json(member) for member in members]}
            for path, members in read()
        )
        write_document(sys.stdout, found.head_json(), rows=rows)
        return
    for path, members in read():
        if len(found.paths) > 1:
            print(f"{escape(path)}:")
        write_lines(sys.stdout, member_lines(members))
