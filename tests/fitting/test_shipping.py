"""A rule fitted on tables alone comes into a checkpoint by the command that a site uses."""

import pytest

from retinalesion.errors import UserError
from retinalesion.fitting.tables import write_tables
from retinalesion.reading.reader import Reader
from retinalesion.report.calibrate import calibrate


def test_tables_of_photographs_read_out_of_fold_are_taken_as_a_store_is(draw, tmp_path):
    write_tables(tmp_path / "idrid", draw(130))
    done = calibrate(tmp_path / "idrid", tmp_path / "box.safetensors")
    model = Reader.from_checkpoint(done.file, device="cpu").model
    assert model.rule == done.rule
    assert model.rule.told["photographs"] == 130
    assert "tables of idrid" in model.rule.told["source"]
    assert len((done.readings / "outcomes.csv").read_text("utf-8").splitlines()) == 131


def test_tables_of_too_few_photographs_are_refused(draw, tmp_path):
    write_tables(tmp_path / "few", draw(40))
    with pytest.raises(UserError, match="lacking are 60 graded photographs"):
        calibrate(tmp_path / "few", tmp_path / "box.safetensors")
