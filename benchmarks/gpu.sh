#!/usr/bin/env bash
# What only a CUDA card can show, in under 8 minutes: the tests marked gpu, and bench_objectives.py at N = 32,768 and
# 1,048,576, against open_clip's loss and, where they are installed, memeff and inf-cl.
#
#     benchmarks/gpu.sh               # writes benchmarks/results/CARD.json, tests that failed included
#     benchmarks/gpu.sh FOLDER        # writes FOLDER/CARD.json
#     PYTHON=python3 benchmarks/gpu.sh
#
# Nothing is installed: packages are those of $PYTHON (default: .venv, else python3). Without a card it is a dry run on
# the CPU: the tests are only collected, N is small, and the file is FOLDER/dry_run.json (default: a temporary folder).
# Exit code 1: a test failed, or the benchmark did.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || python=python3
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

card=$("$python" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "")') || exit 1
tests=(-o addopts= -q -m gpu --tb=short tests/gpu)
if [ -n "$card" ]; then
  results=${1:-benchmarks/results}
  timeout 200 "$python" -m pytest "${tests[@]}" --durations=5 --junitxml "$logs/tests.xml"
  timeout 265 "$python" benchmarks/bench_objectives.py --device cuda --seconds 130 | tee "$logs/objectives"
else
  echo "no CUDA card: dry run on the CPU, its numbers mean nothing"
  results=${1:-$(mktemp -d)}
  "$python" -m pytest "${tests[@]}" --junitxml "$logs/tests.xml"  # each skips itself
  "$python" benchmarks/bench_objectives.py --device cpu --quick --large 1024 | tee "$logs/objectives"
fi
"$python" benchmarks/gpu_result.py "$card" "$logs/tests.xml" "$logs/objectives" "$results"
