#!/bin/sh
# Pending trainings and measurements, in sittings of a few minutes on a machine that is lent, with or without a GPU. It
# needs this checkout, torch, numpy and safetensors; nothing is installed and nothing is fetched.
#
#   benchmarks/gpu.sh --list                  what is pending
#   benchmarks/gpu.sh                         go on with the first pending piece, for at most 9 minutes
#   benchmarks/gpu.sh sqg --minutes 4         a certain one
#   benchmarks/gpu.sh sqg64-tiles sqg64-softmax sqg64-pair      attention at linear cost, trained, beside softmax
#   benchmarks/gpu.sh --smoke                 a few steps of everything, on any CPU, in a minute
#
# A sitting writes $OUT/<piece>/ (runs/gpu/<piece>/ where OUT is not set): weights.safetensors with its card, card.json,
# log.csv and, until the piece is finished, checkpoint.pt.NN in parts below 16 MiB. Copy that folder to .carry/ before
# the next sitting, which goes on from there: `cp -r $OUT/sqg .carry/`; a comparison (sqg64-pair) reads both of its
# trainings there. SQG and Lorenz-96 are simulated on the spot; north-america and europe read .carry/data/<piece>.npz, written by
#
#   stormda ingest -c examples/north-america/twin.yaml
#   python benchmarks/export.py -c examples/north-america/twin.yaml .carry/data/north-america.npz
#   stormda ingest -c examples/europe/february-2019.yaml
#   python benchmarks/export.py -c examples/europe/february-2019.yaml .carry/data/europe.npz
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
python=${PYTHON:-python3}
if [ "${1:-}" = --smoke ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    OMP_NUM_THREADS=1 "$python" benchmarks/gpu.py --smoke "$folder/carry"
    exit
fi
exec "$python" benchmarks/gpu.py "$@"
