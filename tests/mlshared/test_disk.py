"""Where files may lie, and what is taken for one of ours."""

import os
import stat
from pathlib import Path

import pytest

from mlshared._disk import (
    file_age,
    file_system,
    is_network,
    make_folders,
    read_file,
    refusal,
    sweep,
    touch_file,
    write_file,
)

MOUNTS = """\
overlay / overlay rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/ann/local ext4 rw 0 0
auto /data autofs rw 0 0
//nas/data /data cifs rw 0 0
me@host:/ /mnt/my\\040disk fuse.sshfs rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/cache/mlshared", "overlay"),
        ("/home/ann/.cache/mlshared", "nfs4"),
        ("/home", "nfs4"),
        ("/homestead", "overlay"),
        ("/home/ann/local/cache", "ext4"),
        ("/data/cache", "cifs"),
        ("/mnt/my disk/cache", "fuse.sshfs"),
    ],
)
def test_innermost_and_latest_mount_tells_the_file_system(path, kind):
    """The longest mount point above a path counts; of two on one point the later."""
    assert file_system(path, MOUNTS) == kind


def test_no_mount_table_tells_nothing():
    """Where there is no table, a disk is taken to be local."""
    assert file_system("/var", "") == ""
    assert not is_network("")


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "fuse.s3fs", "fuse.sshfs", "lustre"])
def test_network_file_systems_are_known(kind):
    """Types that reach over a network are told apart; unknown FUSE types count as such."""
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "fuse.fuse-overlayfs"]
)
def test_local_file_systems_are_known(kind):
    """Local disks, and FUSE types that are local, are accepted."""
    assert not is_network(kind)


def test_written_file_is_read_only_in_private_folders(tmp_path):
    """Files are 0400, all folders made on the way 0700, whatever the umask."""
    before = os.umask(0)
    try:
        write_file(tmp_path / "cache", "a/b/file", b"bytes", exclusive=False)
    finally:
        os.umask(before)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "cache", *tmp_path.rglob("cache/*")]
    }
    assert modes == {"cache": 0o700, "a": 0o700, "tmp": 0o700}
    assert stat.S_IMODE((tmp_path / "cache/a/b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "cache/a/b/file").stat().st_mode) == 0o400


def test_no_temp_file_is_left(tmp_path):
    """After a write, won or lost, only the file itself is there."""
    write_file(tmp_path, "f", b"first", exclusive=True)
    with pytest.raises(FileExistsError):
        write_file(tmp_path, "f", b"second", exclusive=True)
    assert (tmp_path / "f").read_bytes() == b"first"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_replacing_leaves_an_open_file_as_it_was(tmp_path):
    """A reader that has the old file open goes on reading the old bytes: nothing is rewritten in place."""
    write_file(tmp_path, "f", b"old", exclusive=False)
    with (tmp_path / "f").open("rb") as reader:
        write_file(tmp_path, "f", b"new", exclusive=False)
        assert reader.read() == b"old"
    assert (tmp_path / "f").read_bytes() == b"new"


def _symlink(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(b"bytes")
    path.symlink_to("elsewhere")


def _open_to_others(path: Path) -> None:
    path.write_bytes(b"bytes")
    path.chmod(0o666)


def _too_large(path: Path) -> None:
    path.write_bytes(b"x" * 101)


@pytest.mark.parametrize("plant", [_symlink, os.mkfifo, Path.mkdir, _open_to_others, _too_large])
def test_what_was_not_written_here_is_not_read(tmp_path, plant):
    """A link, a FIFO, a folder, a file that others may write and one over the limit are refused at once."""
    plant(tmp_path / "f")
    assert read_file(tmp_path / "f", limit=100) is None


def test_file_of_another_user_is_not_read(tmp_path):
    """A file of another owner is refused."""
    (tmp_path / "f").write_bytes(b"bytes")
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(tmp_path / "f", 65534, 65534)
    assert read_file(tmp_path / "f", limit=100) is None


def test_absent_is_an_error_of_its_own(tmp_path):
    """An absent file raises FileNotFoundError, so that it is told from one that is refused."""
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "f", limit=1)


def test_folder_open_to_others_is_refused(tmp_path):
    """A folder in which others may write is refused and left as it is."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c").chmod(0o777)
    assert "chmod go-w" in (refusal(tmp_path / "c") or "")
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o777


def test_link_in_place_of_the_folder_is_refused(tmp_path):
    """A symbolic link may have been planted: its target has to be named."""
    (tmp_path / "real").mkdir()
    (tmp_path / "c").symlink_to("real")
    assert "is a link" in (refusal(tmp_path / "c") or "")


def test_private_folder_is_accepted(tmp_path):
    """An absent folder is made, with its parents, and accepted."""
    assert refusal(tmp_path / "a/b") is None
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o700


def test_sweep_takes_only_what_was_abandoned(tmp_path):
    """Temp files of killed processes go after an hour; those being written stay."""
    folder = tmp_path / "tmp"
    make_folders(tmp_path, folder)
    (folder / "now").write_bytes(b"")
    (folder / "old").write_bytes(b"")
    os.utime(folder / "old", (0, 0))
    sweep(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["now"]


def test_touch_goes_through_no_link(tmp_path):
    """A planted link is not followed, neither to touch nor to ask."""
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "checked").symlink_to("target")
    with pytest.raises(OSError, match="checked"):
        touch_file(tmp_path, "checked")
    assert file_age(tmp_path / "checked") is None
