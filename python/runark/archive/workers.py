"""How many workers: by what a worker waits for.

On a local filesystem a worker computes (compressing, hashing), so there is one a core. On a network filesystem it
waits for the server most of the time, so there are more than cores (`benchmarks/`, suites `workers` and `latency`:
at half a millisecond a request 16 workers do 5 times what 1 does or more, 32 hardly more than 16).
"""

from __future__ import annotations

import os

__all__ = ["default_jobs", "filesystem_of", "is_network"]

_LOCAL_MOST = 64
_NETWORK_LEAST = 16

_NETWORK = frozenset((
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "cvmfs", "glusterfs", "gpfs", "gfs", "gfs2", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf",
    "virtiofs", "wekafs"
))  # fmt: skip


def default_jobs(path: bytes) -> int:
    """The number of workers for the filesystem of `path`, at least 1."""
    cores = _cores()
    return max(cores, _NETWORK_LEAST) if is_network(path) else min(cores, _LOCAL_MOST)


def is_network(path: bytes) -> bool:
    """Whether other hosts may see the filesystem of `path`; FUSE is taken for such a one."""
    kind = filesystem_of(path)
    return kind in _NETWORK or kind.startswith("fuse")


def _cores() -> int:
    """The cores this process may use; fewer than the machine has under SLURM, taskset or a container's cpuset."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def filesystem_of(path: bytes) -> str:
    """The type of the filesystem as the kernel calls it (`ext4`, `nfs4`, `fuse.sshfs`); empty where it does not
    tell."""
    try:
        with open("/proc/self/mountinfo", "rb") as stream:
            lines = stream.read().splitlines()
    except OSError:  # not Linux, or /proc is not mounted: only a default depends on it
        return ""
    real = os.path.realpath(path)
    best, kind = -1, b""
    for line in lines:
        fields = line.split(b" ")
        point = (
            fields[4].replace(b"\\040", b" ").replace(b"\\011", b"\t").replace(b"\\012", b"\n").replace(b"\\134", b"\\")
        )
        inside = point == b"/" or real == point or real.startswith(point + b"/")
        # Of several mounts on one point the last is the one seen.
        if inside and len(point) >= best and b"-" in fields:
            best, kind = len(point), fields[fields.index(b"-") + 1]
    return kind.decode("ascii", "replace")
