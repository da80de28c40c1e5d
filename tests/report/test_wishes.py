"""`analyze --sensitivity` and `--prevalence`: what is wished of a checkpoint's rule."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from retinalesion.cli import main
from retinalesion.data.quality import LIMITS
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.reading.reader import Model, Reader
from retinalesion.reading.rule import Logistic, Roc, Rule
from retinalesion.reading.stream import Readings
from retinalesion.report.analyze import analyze
from retinalesion.report.outputs import Outputs

ANY = {name: (-float("inf"), float("inf")) for name in LIMITS}
SCORE = Logistic(-0.5, {})
TOLD = {"photographs": 100, "sensitivity": [0.95, 0.9, 1.0], "specificity": [0.8, 0.7, 0.9]}
RULE = Rule(
    second_look={},
    points={},
    macula=None,
    referable=SCORE,
    steps=(SCORE,) * 4,
    low=-1.0,
    high=1.0,
    roc=Roc((-1.0, 0.0, 1.0), (0.95, 0.8, 0.6), (0.5, 0.7, 0.9)),
    prevalence=0.5,
    told=TOLD,
)


class Ruled(Reader):
    """Finds nothing; its rule's score is -0.5."""

    def __init__(self, rule, wish):
        self.side, self.anatomy, self.model = 64, None, Model("ruled", ("MA",), ANY, rule, wish)

    def maps_of(self, square):
        return np.zeros((len(CODES), self.side, self.side), np.float32), (0.5, 0.2, 0.1, 0.1, 0.1)


@pytest.fixture
def eyes(tmp_path, monkeypatch):
    """Photographs, in a folder where the user works, read by a checkpoint that has a rule."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Reader, "from_checkpoint", lambda file, device, wish: Ruled(RULE, wish))
    monkeypatch.setattr("retinalesion.reading.reader.measure", lambda square: dict.fromkeys(LIMITS, 0.0))
    Path("eyes").mkdir()
    for number in range(3):
        cv2.imwrite(f"eyes/p{number}.png", np.full((70, 70, 3), 120, np.uint8))


def read(**wishes):
    return list(analyze("eyes", "out", checkpoint=__file__, camera="none", **wishes))


@pytest.mark.parametrize(
    ("wishes", "outcome"),
    [
        ({}, "uncertain"),
        ({"sensitivity": 0.8}, "no referral"),  # from the score 0 on
        ({"sensitivity": 0.95}, "uncertain"),
        ({"prevalence": 0.1}, "uncertain"),  # scores and cuts move alike
    ],
)
def test_a_wish_moves_the_lower_cut_or_the_probabilities_and_is_told(eyes, wishes, outcome):
    (reading, *_) = read(**wishes)
    assert reading.outcome == outcome
    assert reading.rule.get("wished", {}) == wishes
    assert (reading.referable_probability < 0.1) == ("prevalence" in wishes)
    page = Path("out/report/index.html").read_text("utf-8")
    assert ("moved as wished" in page) == bool(wishes)
    assert "sensitivity 95 %, specificity 80 %, on 100 photographs" in page


def test_another_wish_is_another_analysis(eyes, monkeypatch):
    write = Outputs.write
    monkeypatch.setattr(Outputs, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        read(sensitivity=0.9)
    monkeypatch.setattr(Outputs, "write", write)
    for other in ({}, {"sensitivity": 0.8}, {"sensitivity": 0.9, "prevalence": 0.2}):
        name = "prevalence" if "prevalence" in other else "sensitivity"
        with pytest.raises(UserError, match=rf"unfinished.*other: {name}\)"):
            read(**other)
    assert read(sensitivity=0.9)[0].rule["wished"] == {"sensitivity": 0.9}
    assert "wished" not in read()[0].rule


@pytest.mark.parametrize(
    "wishes",
    [
        *({"sensitivity": value} for value in (0.49, 1.0, -1, float("nan"), 90)),
        *({"prevalence": value} for value in (0, 0.0009, 0.91, 10, float("inf"))),
    ],
    ids=str,
)
def test_a_wish_beyond_its_limits_is_refused(eyes, wishes):
    with pytest.raises(UserError, match=f"--{next(iter(wishes))}.*name a share from"):
        read(**wishes)
    assert not Path("out").exists()


def test_a_checkpoint_without_a_rule_is_told_before_anything_is_read(eyes, monkeypatch):
    monkeypatch.setattr(Reader, "from_checkpoint", lambda file, device, wish: Ruled(None, wish))
    monkeypatch.setattr(Ruled, "maps_of", lambda *_: pytest.fail("a photograph was read"))
    for wish in ({"sensitivity": 0.9}, {"prevalence": 0.1}):
        with pytest.raises(UserError, match=r"test_wishes\.py: .*none.*retinalesion calibrate"):
            read(**wish)
    assert not Path("out").exists()


def test_wishes_are_typed_and_outcomes_are_counted(eyes, capsys):
    words = ["analyze", "eyes", "--checkpoint", __file__, "--sensitivity", "0.8", "--prevalence", "0.1"]
    assert main([*words, "--out", "out"]) == 0
    assert Readings("out/readings.jsonl")[0].rule["wished"] == {"sensitivity": 0.8, "prevalence": 0.1}
    counted = "3 photographs: 0 refer, 0 uncertain, 0 retake, 0 not assessed, 3 no referral; 0 could not be"
    assert counted in capsys.readouterr().out
