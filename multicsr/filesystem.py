"""On what kind of file system something lies."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# By the names that Linux gives them. Their locks may not reach other machines, and no memory is shared with those.
KINDS = (
    "9p afs afp beegfs ceph cifs coda davfs gfs gfs2 glusterfs gpfs lizardfs lustre ncp ncpfs nfs nfs4 ocfs2 orangefs "
    "pvfs2 smb2 smb3 smbfs wekafs fuse.beegfs fuse.ceph fuse.cephfs fuse.davfs fuse.davfs2 fuse.gcsfuse "
    "fuse.glusterfs fuse.juicefs fuse.lustre fuse.moosefs fuse.rclone fuse.s3fs fuse.seaweedfs fuse.smbnetfs fuse.sshfs"
)


def network_file_system(path: Path) -> str | None:
    """The name of the network file system that the path is on, or will be; None on a local one, and where nobody tells.

    A 9p file system counts as one: it is how virtual machines, WSL among them, see folders of their host.
    """
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:  # not Linux
        return None
    found, deepest = "", -1
    whole = path.resolve()
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = Path(_unescaped(left.split()[4]))
        if len(point.parts) >= deepest and whole.is_relative_to(point):  # the last of those at one place is on top
            found, deepest = right.split()[0], len(point.parts)
    return found if found in KINDS.split() else None


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
