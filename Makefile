# Everything a newcomer needs is `make demo` and `make test`; the rest is for daily work.
export PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check bench-scan bench-detect bench-recall bench-length bench-false-alarms bench-sensitivity \
	bench-flags bench-ais bench-change bench-alerts bench-engine \
	gallery constraints services kafka postgis env stop clean
help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/demo  ## simulated scenes through the broker into PostGIS, and what was found
	$(BIN)/python deploy/demo.py

test: $(VENV)/dev  ## every test, on a real Kafka and a real PostGIS
	deploy/test.sh $(ARGS)

check: $(VENV)/dev  ## format, lint, types, layers, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not service and not slow"

bench-scan: $(VENV)/demo  ## fusar scan on a full-size scene beside a pure read and a plain chain
	$(BIN)/python tools/bench_scan.py $(ARGS)

bench-detect: $(VENV)/demo  ## time and memory of fusar detect on a scene of 6,000 x 6,000
	$(BIN)/python tools/bench_detect.py

bench-recall: $(VENV)/demo  ## what is found in simulated scenes of an unseen seed
	$(BIN)/python tools/bench_recall.py

bench-length: $(VENV)/dev  ## lengths, widths and axes measured in simulated patches, against the truth
	$(BIN)/python tools/bench_length.py $(ARGS)

bench-false-alarms: $(VENV)/dev  ## false alarms against their setting on simulated sea
	$(BIN)/python tools/bench_false_alarms.py $(ARGS)

bench-sensitivity: $(VENV)/dev  ## simulated ships seen, against the prediction
	$(BIN)/python tools/bench_sensitivity.py $(ARGS)

bench-flags: $(VENV)/dev  ## how often the flags of simulated scenes are right
	$(BIN)/python tools/bench_flags.py $(ARGS)

bench-ais: $(VENV)/dev  ## detections matched with simulated AIS, and what is claimed of silence
	$(BIN)/python tools/bench_ais.py $(ARGS)

bench-change: $(VENV)/dev  ## what is told of changes between simulated repeat passes, against the truth
	$(BIN)/python tools/bench_change.py $(ARGS)

bench-alerts: $(VENV)/dev postgis  ## alerts over 10 million detections and 10,000 areas, against brute force
	$(BIN)/python tools/bench_alerts.py $(ARGS)

bench-engine: $(VENV)/dev  ## chips per second beside transformers' generate; BUNDLE=folder BACKEND=name
	$(BIN)/python tools/bench_engine.py $(if $(BUNDLE),--bundle $(BUNDLE)) $(if $(BACKEND),--backend $(BACKEND)) $(ARGS)

gallery: $(VENV)/dev  ## the nuisance gallery on one sheet, docs/images/gallery.png
	$(BIN)/python tools/gallery.py $(ARGS)

services: postgis kafka  ## start PostGIS and Kafka of our own under .services

kafka:  ## start a Kafka broker of our own
	deploy/kafka.sh start

postgis:  ## start a PostGIS cluster of our own
	deploy/postgis.sh start

env:  ## print the settings of what runs: eval "$$(make -s env)"
	@deploy/settings.sh

constraints:  ## choose versions anew, for every Python that is supported
	uv pip compile --quiet --universal --python-version 3.10 --extra dev --no-annotate \
	    --custom-compile-command "make constraints" -o constraints.txt pyproject.toml

stop:  ## stop the services of our own
	deploy/kafka.sh stop
	deploy/postgis.sh stop

clean: stop  ## stop, and remove the services' data, the demo and the environment
	deploy/postgis.sh clean
	rm -rf .services .demo $(VENV)

$(VENV)/demo: pyproject.toml constraints.txt
	deploy/environment.sh demo
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt
	deploy/environment.sh dev
	@touch $@ $(VENV)/demo
