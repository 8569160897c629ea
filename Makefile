# The README's two commands. Each does all of its own set-up; the tools and environments lie in .tools/ and .tox/.
#
#   make demo [SCREENSHOT=picture.png]   napari on the sample CT, with the finished masks; as a picture where there is no display
#   make test [ARGS="-k words"]          style, types, architecture, manifest, docs and all tests
#   make clean                           remove what these made

PYTHON ?= python3
SCREENSHOT ?=
ARGS ?=
# Another environment that is active outside must not shine through.
unexport PYTHONPATH PYTHONHOME

TOX = .tools/bin/python -m tox

.PHONY: demo test clean setup

demo: setup
	@echo "Installing napari-lungseg into .tox/py; the first time this takes a few minutes and, on Linux, 6.4 GB (3.5 GB with PyTorch for the CPU only: see docs/install.md)."
	@$(TOX) run -q -e py --notest
	@.tox/py/bin/napari-lungseg demo $(if $(SCREENSHOT),--screenshot "$(SCREENSHOT)")

test:
	@PYTHON="$(PYTHON)" tools/setup.sh test
	@$(TOX) run -e py -- $(ARGS)

setup:
	@PYTHON="$(PYTHON)" tools/setup.sh

clean:
	rm -rf .tools .tox build dist
