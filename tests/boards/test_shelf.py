"""Where boards are found."""

import shutil
from pathlib import Path

import pytest
from boards.conftest import BOARD

from optbench.boards import shelf
from optbench.errors import UserError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory without boards, and a package that lies in no checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shelf, "__file__", str(tmp_path / "site-packages" / "optbench" / "boards" / "shelf.py"))
    return tmp_path


def test_a_checkout_has_its_boards_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shelf.find_board("newton_muon").name == "newton_muon"
    assert set(shelf.board_files()) == {path.stem for path in (REPOSITORY / "results" / "boards").glob("*.yaml")}


def test_the_working_directory_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / shelf.FOLDER
    folder.mkdir(parents=True)
    (folder / "newton_muon.yaml").write_text(BOARD, encoding="utf-8")
    assert shelf.find_board("newton_muon").fields.title == "A board"
    assert "marin_speedrun" in shelf.board_files()


def test_a_file_anywhere(elsewhere):
    path = elsewhere / "mine.yml"
    path.write_text(BOARD, encoding="utf-8")
    assert shelf.find_board("mine.yml").name == "mine"
    assert shelf.find_board(str(path)).name == "mine"
    with pytest.raises(UserError, match="no such file"):
        shelf.find_board("other.yaml")


def test_without_the_repository_it_is_said_where_boards_go(elsewhere):
    with pytest.raises(
        UserError, match=r"--board newton_muon: there are no boards: put board files into results.boards"
    ):
        shelf.find_board("newton_muon")
    with pytest.raises(UserError, match="name one: --board FILE.yaml"):
        list(shelf.boards())


def test_a_name_that_is_nearly_one(elsewhere):
    shutil.copytree(REPOSITORY / "results" / "boards", elsewhere / shelf.FOLDER)
    for given, near in (("newtonmuon", "newton_muon"), ("track3", "modded_nanogpt_track3"), ("Speedrun", "marin_spee")):
        with pytest.raises(UserError, match=f"--board {given}: no such board; did you mean {near}"):
            shelf.find_board(given)
    with pytest.raises(UserError, match="no such board; allowed: algoperf_v05, "):
        shelf.find_board("zzz")


def test_what_is_no_board_is_no_board(elsewhere):
    folder = elsewhere / shelf.FOLDER
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("read me", encoding="utf-8")
    (folder / "toy.yaml").write_text(BOARD, encoding="utf-8")
    (folder / "folder.yaml").mkdir()
    assert [board.name for board in shelf.boards()] == ["toy"]
