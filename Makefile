# Everything runs in .venv, which is made once from constraints.txt (again when that or pyproject.toml changes).
PYTHON ?= python3
BIN := .venv/bin
MADE := .venv/.made
# One thread a test process, two processes: tests stay quick on two cores.
TESTS ?= -n 2

.PHONY: test demo notebooks lint format bench box

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest $(TESTS)

demo: $(MADE)
	$(BIN)/retinalesion demo --out demo

# Run anew, with what they show. Warnings would name files of this machine.
notebooks: $(MADE)
	PYTHONWARNINGS=ignore $(BIN)/pytest --overwrite notebooks

lint: $(MADE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(MADE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The model in the box, from IDRiD (its folder in RETINALESION_IDRID) and ImageNet weights of EfficientNet-Lite0.
WEIGHTS ?= imagenet
BOX ?= box

box: $(MADE)
	@if [ -z "$$RETINALESION_IDRID" ]; then echo "Set RETINALESION_IDRID to the folder of IDRiD."; exit 2; fi
	mkdir -p $(BOX)
	$(BIN)/retinalesion prepare idrid "$$RETINALESION_IDRID" $(BOX)/store --healthy --side 1792
	$(BIN)/retinalesion fit --config box-lnet.yaml --data.store $(BOX)/store --model.weights $(WEIGHTS) \
	  --run $(BOX)/lnet
	$(BIN)/retinalesion fit --config box-sian.yaml --data.store $(BOX)/store --model.weights $(WEIGHTS) \
	  --model.lesion_net $(BOX)/lnet/checkpoints/last.ckpt --run $(BOX)/sian
	$(BIN)/retinalesion test --run $(BOX)/sian --data.evaluate val --data.side 1344
	$(BIN)/retinalesion export $(BOX)/sian $(BOX)/box.safetensors --side 1344

bench: $(MADE)
	$(BIN)/python bench/networks.py
	@if [ -n "$$RETINALESION_IDRID" ]; then set -x; $(BIN)/python bench/store.py "$$RETINALESION_IDRID"; \
	else echo "The store's bench needs real photographs: set RETINALESION_IDRID to IDRiD's folder."; fi

# uv where it is at hand (a minute), else pip (five): the same packages, by the same constraints.
$(MADE): constraints.txt pyproject.toml
	@if uv --version >/dev/null 2>&1; then \
	  set -ex; \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv; \
	  uv pip install --compile-bytecode --python $(BIN)/python --constraint constraints.txt --group dev --group bench --editable .; \
	else \
	  set -ex; \
	  $(PYTHON) -m venv .venv; \
	  $(BIN)/python -m pip install --quiet "pip>=25.1"; \
	  $(BIN)/python -m pip install --constraint constraints.txt --group dev --group bench --editable .; \
	fi
	@touch $@
