"""The packages for BioImage.IO pass the test of bioimageio.core; `tox -e parity` installs it."""

from __future__ import annotations

import pytest

from napari_lungseg.export.write import export_model

core = pytest.importorskip("bioimageio.core", reason="bioimageio.core is not installed: tox -e parity compares with it")


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("model", ["lung-ct", "lung-xray"])
def test_a_package_passes_the_test_of_bioimageio(model, precision, tmp_path):
    if (model, precision) == ("lung-xray", "int8"):
        pytest.skip("it has none")
    export_model(model, tmp_path / "model.zip", precision=precision)
    summary = core.test_model(tmp_path / "model.zip")
    assert summary.status == "passed", summary.format()
