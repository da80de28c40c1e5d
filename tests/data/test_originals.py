"""A store belongs to the files it was made of, and to one `prepare` at a time."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from retinalesion.cli import main
from retinalesion.data.check import check, show
from retinalesion.data.prepare import prepare
from retinalesion.data.sources.folder import FolderSource
from retinalesion.data.sources.idrid import IdridSource
from retinalesion.data.store import Store
from retinalesion.errors import PhotographError, UserError
from retinalesion.files import locked


@pytest.fixture
def root(folder_of, photograph, mask):
    pictures = {f"set/photographs/{name}.png": np.roll(photograph, n, 2) for n, name in enumerate("abc")}
    return folder_of({**pictures, "set/masks/MA/a.png": mask, "set/masks/MA/b.png": mask}) / "set"


def make(root, path, **options):
    return prepare(FolderSource(root), path, side=64, jobs=1, **options)


def prepared(root, path, *options):
    """The status of the command."""
    return main(["prepare", "folder", str(root), str(path), "--side", "64", "--jobs", "1", *options])


def age(file, seconds=5):
    seen = file.stat()
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns - seconds * 10**9))


@pytest.mark.parametrize("same_size", [True, False])
@pytest.mark.parametrize("name", ["masks/MA/a.png", "photographs/c.png"])
def test_what_was_corrected_under_the_same_name_is_told(root, tmp_path, name, same_size):
    store = make(root, tmp_path / "store").store
    before = {file: file.read_bytes() for file in store.path.rglob("*") if file.is_file()}
    file = root / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data if same_size else data + b"\0")
    age(file, -5)
    with pytest.raises(UserError, match=rf"store made before .*{file.name} changed.*another folder"):
        make(root, store.path)
    assert {file: file.read_bytes() for file in before} == before


def test_a_set_that_was_only_copied_is_the_same_and_is_read_only_once_more(
    root, tmp_path, monkeypatch, capsys
):
    make(root, tmp_path / "store")
    shutil.rmtree(shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copy).parent / "set")
    for file in (tmp_path / "copy").rglob("*.png"):
        age(file)
    make(tmp_path / "copy", tmp_path / "store")
    monkeypatch.setattr("retinalesion.data.originals.sha256_of", lambda path: pytest.fail("read again"))
    make(tmp_path / "copy", tmp_path / "store")
    assert capsys.readouterr().out.count("finished already") == 2


def test_a_corrected_mask_is_taken_in_where_the_store_is_not_finished(root, tmp_path, mask):
    whole = (root / "photographs/c.png").read_bytes()
    (root / "photographs/c.png").write_bytes(b"cut off")
    with pytest.raises(PhotographError):
        make(root, tmp_path / "store")
    (root / "photographs/c.png").write_bytes(whole)
    (root / "masks/MA/a.png").write_bytes((root / "masks/MA/b.png").read_bytes())
    shutil.copy(root / "photographs/c.png", root / "masks/MA/b.png")
    store = make(root, tmp_path / "store").store
    fresh = make(root, tmp_path / "fresh").store
    assert store.fingerprint == fresh.fingerprint
    assert (store.planes("b") == fresh.planes("b")).all()
    assert store.planes("b").sum() > store.planes("a").sum()


def test_a_photograph_that_was_left_out_and_is_mended_is_told(root, tmp_path, photograph):
    whole = (root / "photographs/c.png").read_bytes()
    (root / "photographs/c.png").write_bytes(b"cut off")
    make(root, tmp_path / "store", skip_bad=True)
    (root / "photographs/c.png").write_bytes(whole)
    with pytest.raises(UserError, match=r"c\.png changed"):
        make(root, tmp_path / "store", skip_bad=True)


def test_a_store_of_an_earlier_version_is_finished_all_the_same(root, tmp_path, capsys):
    store = make(root, tmp_path / "store").store
    (store.path / "originals.csv").unlink()
    age(root / "masks/MA/a.png")
    make(root, store.path)
    assert "finished already" in (printed := capsys.readouterr().out)
    assert "whether files of the set have changed since is not known" in printed


def test_the_mask_of_idrids_disc_belongs_to_it_too(folder_of, photograph, mask):
    masks = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set"
    lesions = ("1. Microaneurysms", "2. Haemorrhages", "3. Hard Exudates", "4. Soft Exudates")
    root = folder_of(
        {
            "A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg": photograph,
            **{f"{masks}/{title}/note.txt": "" for title in lesions},
            f"{masks}/5. Optic Disc/IDRiD_01_OD.tif": mask,
        }
    )
    source = IdridSource(root, part="segmentation", half="train")
    prepare(source, root / "store", side=64, jobs=1)
    age(root / masks / "5. Optic Disc/IDRiD_01_OD.tif")
    assert prepare(source, root / "store", side=64, jobs=1).store.rows[0].disc
    (root / masks / "5. Optic Disc/IDRiD_01_OD.tif").write_bytes(b"other")
    with pytest.raises(UserError, match=r"IDRiD_01_OD\.tif changed"):
        prepare(source, root / "store", side=64, jobs=1)


# ------------------------------------------------------------------------------------------------ two at once


def test_a_second_prepare_is_refused_while_the_first_works(root, tmp_path):
    path = tmp_path / "store"
    with locked(path), pytest.raises(UserError, match=f"in use by process {os.getpid()} on"):
        make(root, path)
    assert make(root, path).store.rows
    with locked(path):
        make(root, path)  # finished: nothing to write


@pytest.mark.slow
def test_of_pairs_at_once_with_other_arguments_one_makes_its_own_store(tmp_path):
    """Before there was a lock, three stores of fourteen were mixed."""
    words = "['prepare', 'synthetic', '--count', '8', '--side', sys.argv[2], '--jobs', '1', sys.argv[1]]"
    code = f"import sys; from retinalesion.cli import main; sys.exit(main({words}))"
    for turn in range(4):
        path = tmp_path / f"store{turn}"
        both = [
            subprocess.Popen([sys.executable, "-c", code, str(path), side], stderr=subprocess.PIPE, text=True)
            for side in ("64", "96")
        ]
        told = [process.communicate()[1] for process in both]
        assert sorted(process.returncode for process in both) == [0, 2]
        assert any(text in told[both[0].returncode == 0] for text in ("in use by process", "other arguments"))
        store = Store(path)
        assert {store.image(row.id).shape[0] for row in store.rows} == {store.side}
        assert {store.planes(row.id).shape[0] for row in store.rows} == {store.side}


# ------------------------------------------------------------------------------------------------- odd files


@pytest.fixture
def hurry():
    """Nobody waits for a pipe that nobody writes to."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("name", ["photographs/d.png", "masks/MA/c.png"])
@pytest.mark.parametrize("kind", ["pipe", "loop", "leads nowhere"])
def test_what_bears_a_picture_s_name_and_is_none_is_told(root, tmp_path, name, kind):
    odd = root / name
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to(odd.name if kind == "loop" else "nowhere")
    with pytest.raises(PhotographError, match=rf"{odd.name}: (is no file|leads nowhere)"):
        make(root, tmp_path / "store")
    made = make(root, tmp_path / "store", skip_bad=True)
    assert [one.id for one in made.skipped] == [odd.stem]
    assert make(root, tmp_path / "store", skip_bad=True).skipped == made.skipped
    assert any(one.kind == "unreadable" and one.id == odd.stem for one in check(FolderSource(root), jobs=1))


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("name", ["", "photographs", "masks", "masks/MA", "grades.csv"])
@pytest.mark.parametrize("kind", ["pipe", "loop"])
def test_a_pipe_or_a_loop_in_the_place_of_a_folder_or_table_ends(root, tmp_path, name, kind, capsys):
    odd = root / name
    shutil.rmtree(odd, ignore_errors=True)
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to(odd.name)
    assert prepared(root, tmp_path / "store") == 2
    assert odd.name in capsys.readouterr().err


def test_brackets_in_a_path_are_no_markup(folder_of, photograph, capsys):
    root = folder_of({"[/b]/a.png": photograph, "[/b]/c[red].png": b"cut off"}) / "[/b]"
    store = root.parent / "[bold]store[/i]"
    for _ in range(2):
        assert prepared(root, store, "--skip-bad") == 0
    printed = capsys.readouterr().out
    assert f"{store} is finished already" in printed
    show(check(FolderSource(root), jobs=1), Console(width=1000))
    assert "c[red].png" in capsys.readouterr().out
