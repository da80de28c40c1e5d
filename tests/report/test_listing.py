from retinalesion.report.listing import listed


def test_photographs_of_sub_folders_are_listed_and_none_of_hidden_or_system_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        *("e01.jpg", "left/e02.png", "right/deep/e03.JPG", "of.1999/e04.tif"),
        *(".git/annex/objects/a.jpg", "left/.ipynb_checkpoints/e02.png", "@eaDir/e01.jpg/THUMB.jpg"),
        *("$RECYCLE.BIN/x.jpg", ".Trash-1000/files/x.jpg", "__MACOSX/left/e02.png", "left/._e02.png"),
    ):
        file = tmp_path / "eyes" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "eyes/e05.jpg").mkdir()
    items = listed("eyes", "all", tmp_path / "out")
    assert {item.id: item.file for item in items} == {
        "e01": "eyes/e01.jpg",
        "e02": "eyes/left/e02.png",
        "e03": "eyes/right/deep/e03.JPG",
        "e04": "eyes/of.1999/e04.tif",
    }


def test_a_folder_is_listed_wherever_it_stands(tmp_path):
    """Above what was named, any name will do."""
    folder = tmp_path / ".cache/@eaDir/eyes"
    folder.mkdir(parents=True)
    (folder / "e01.jpg").write_bytes(b"x")
    assert [item.id for item in listed(folder, "all", tmp_path / "out")] == ["e01"]
