#!/bin/sh
# Makes model.eebundle anew. usage: sh make.sh cifar10:DIR WEIGHTS FOLDER   (needs `eetool` on the PATH)
# WEIGHTS holds cifar10_resnet20.safetensors and cifar10_resnet56.safetensors, see README.md.
# An hour or two, most of it the training of the small network on one core.
set -eu
data=${1:?usage: make.sh cifar10:DIR WEIGHTS FOLDER}
weights=${2:?usage: make.sh cifar10:DIR WEIGHTS FOLDER}
out=${3:?usage: make.sh cifar10:DIR WEIGHTS FOLDER}
mkdir -p "$out"

# The published ResNets have seen all training images, so half of the test images is held out for what is fitted.
eetool train resnet-16x0-32x1-64x1-128x1 --data "$data" --hold-out test --exits 1 --branch max2,conv3-48,max2,conv3-96 \
    --recipe distill --exit-weights 0.5,1 --erase 8 --batch-size 512 --learning-rate 0.3 --epochs 75 --keep last \
    --mixed-precision bf16 --threads 1 --seed 0 -o "$out/small.pt"
for depth in 20 56; do
    eetool train "resnet$depth" --data "$data" --hold-out test --exits 0 --epochs 0 --normalise imagenet \
        --weights "$weights/cifar10_resnet$depth.safetensors" -o "$out/resnet$depth.pt"
done
eetool cascade "$out/small.pt" "$out/resnet20.pt" "$out/resnet56.pt" --together --data "$data" -o "$out/cascade.pt"
eetool tune "$out/cascade.pt" --data "$data" --max-accuracy-drop 0.6 -o "$out/tuned.pt"
# Weights in 8 bits, so that it is small; no references: what bench compares with is as large as the largest network.
eetool export "$out/tuned.pt" --precision int8 --calibration-data "$data" --no-judge-speed --no-reference \
    -o "$out/model.eebundle"
