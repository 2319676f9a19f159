#!/bin/sh
# Makes model.eebundle anew, from a fixed seed. usage: sh make.sh cifar10:DIR FOLDER   (needs `eetool` on the PATH)
# An hour or so on two cores, most of it training.
set -eu
data=${1:?usage: make.sh cifar10:DIR FOLDER}
out=${2:?usage: make.sh cifar10:DIR FOLDER}
mkdir -p "$out"

eetool train resnet-16x0-32x1-32x2s-64x2-128x2 --data "$data" --recipe distill --at stage1.0,stage2.0,stage3.0 \
    --branch max2,conv3-48,max2,conv3-96 --branch max2,conv3-64,conv3-128 --branch max2,conv3-96 \
    --exit-weights 0.7,0.7,0.8,1 --epochs 14 --batch-size 128 --learning-rate 0.1 --seed 0 --threads 2 -o "$out/model.pt"
eetool tune "$out/model.pt" --data "$data" --max-accuracy-drop 1 -o "$out/tuned.pt"
# Weights in 8 bits, so that it is small; no references: what bench compares with is ten times the size.
eetool export "$out/tuned.pt" --precision int8 --calibration-data "$data" --no-judge-speed --no-reference \
    -o "$out/model.eebundle"
