"""Files are written atomically: all of the new one, or all of the old one, whoever writes at the same time."""
import errno
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import pytest

from gpt_helpers.files import ABANDONED, read_table, save_or_say, writable_folder, write_atomically, write_table, write_text

ROOT = Path(__file__).parent.parent


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_takes_the_place_of_the_old_file_only_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("new")
        assert path.read_text() == "old"

    write_atomically(path, write)
    assert path.read_text() == "new" and names(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"file could not be written \(No space left on device\)") as caught:
        write_atomically(tmp_path / "file", fail)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "old" and names(tmp_path) == ["file"]


@pytest.mark.parametrize(("error", "words"), [
    (OSError(errno.EACCES, "Permission denied"), "(Permission denied)"),
    (RuntimeError("enforce fail at inline_container.cc:300\nmore"), "(enforce fail at inline_container.cc:300)"),
    (RuntimeError(""), "(RuntimeError)"),
    (OSError(), "(OSError)"),
    (RuntimeError("\n\n"), "(RuntimeError)")])
def test_the_reason_is_the_systems_own_and_never_empty_or_guessed(error, words, tmp_path):
    def fail(temporary):
        raise error

    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / "file", fail)
    assert words in str(caught.value) and "full" not in str(caught.value)


def test_a_reason_that_a_library_hides_is_found(tmp_path):
    def fail(temporary):
        try:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")      # noqa: B904

    with pytest.raises(OSError, match="Disk quota exceeded"):
        write_atomically(tmp_path / "file", fail)


def test_a_folder_that_is_missing_is_the_reason(tmp_path):
    with pytest.raises(OSError, match=r"file could not be written \(No such file or directory\)"):
        write_atomically(tmp_path / "no" / "file", lambda temporary: None)


def test_a_temporary_file_of_a_killed_process_is_removed_and_one_in_use_is_not(tmp_path):
    for name, age in (("file.abc.tmp", ABANDONED + 60), ("file.def.tmp", 5)):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write_atomically(tmp_path / "file", lambda temporary: temporary.write_text("new"))
    assert names(tmp_path) == ["file", "file.def.tmp"]


def test_a_name_with_special_characters_is_a_name(tmp_path):
    (tmp_path / "run[1].pt.abc.tmp").write_text("half")
    os.utime(tmp_path / "run[1].pt.abc.tmp", (time.time() - ABANDONED - 60,) * 2)
    write_atomically(tmp_path / "run[1].pt", lambda temporary: temporary.write_text("new"))
    assert names(tmp_path) == ["run[1].pt"]


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs links")
def test_a_device_is_never_replaced_by_a_file(tmp_path, monkeypatch):
    """Who may write everywhere, as in a container, could make a file of /dev/null."""
    (tmp_path / "null").write_text("what it was")
    monkeypatch.setattr(Path, "is_char_device", lambda path: path.name == "null")
    with pytest.raises(OSError, match=r"null could not be written \(it is a device, not a file\)"):
        write_text(tmp_path / "null", "new")
    assert (tmp_path / "null").read_text() == "what it was"


def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run.pt").symlink_to(tmp_path / "disk" / "run.pt")
    write_atomically(tmp_path / "run.pt", lambda temporary: temporary.write_text("new"))
    assert (tmp_path / "run.pt").is_symlink() and (tmp_path / "disk" / "run.pt").read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="needs the modes of files")
def test_a_new_file_has_the_mode_that_the_user_allows(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", lambda temporary: temporary.write_text("new"))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def write_often(path, letter):
    for _ in range(100):
        write_atomically(path, lambda temporary: temporary.write_text(letter * 100_000))


@pytest.mark.slow
def test_several_writers_of_one_file_neither_fail_nor_tear_it(tmp_path):
    path = tmp_path / "file"
    write_often(path, "x")
    writers = [multiprocessing.get_context("spawn").Process(target=write_often, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        text = path.read_text()
        assert text == text[0] * 100_000
    assert [writer.exitcode for writer in writers] == [0, 0] and names(tmp_path) == ["file"]


def test_a_training_goes_on_when_something_cannot_be_saved(capsys):
    def fail(path):
        raise OSError(f"{path} could not be written (Read-only file system)")

    save_or_say(fail, "w.safetensors")
    assert capsys.readouterr().out == "Not saved: w.safetensors could not be written (Read-only file system)\n"


def test_files_go_to_this_folder_or_where_it_is_read_only_to_a_temporary_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert writable_folder() == Path() and capsys.readouterr().out == ""
    make = tempfile.TemporaryFile

    def read_only(**options):
        if options.get("dir") == ".":
            raise PermissionError
        return make(**options)

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    folder = writable_folder()
    assert folder.is_dir() and not list(tmp_path.iterdir()) and str(folder) in capsys.readouterr().out
    folder.rmdir()


@pytest.mark.parametrize("name", ["08_text_size.csv", "08_width.csv", "09_broken_loops.csv"])
def test_a_stored_table_is_written_as_it_was(name, tmp_path):
    stored = ROOT / "notebooks" / name
    write_table(tmp_path / name, read_table(stored))
    assert (tmp_path / name).read_bytes() == stored.read_bytes()


def test_a_table_that_is_not_there_is_told_with_the_folder(tmp_path, monkeypatch):
    """As in an editor that runs every notebook in the project's folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no table '04_race\.csv' in .*run it in its own folder") as caught:
        read_table("04_race.csv")
    assert "\n" not in str(caught.value)
