#!/bin/sh
# The whole chain on real handwritten digits. usage: sh examples/demo.sh FOLDER   (needs `eetool` on the PATH)
set -eu
out=${1:?usage: demo.sh FOLDER}
mkdir -p "$out"

stage() { printf '\n== %s\n' "$*"; "$@"; }

# Photographs, through a network that was trained beforehand: easy ones leave early.
cifar10=$(dirname "$0")/../pretrained/cifar10
stage eetool run "$cifar10/model.eebundle" "$cifar10"/images/*.png

stage eetool train resnet20 --data digits --exits 2 --force -o "$out/model.pt"
stage eetool tune "$out/model.pt" --data digits
stage eetool export "$out/model.pt" --precision fp32 --precision int8 --force -o "$out/model.eebundle"
stage eetool verify "$out/model.eebundle"

# A smaller net without exits, trained in the same way: what early exit has to beat.
stage eetool train resnet8 --data digits --exits 0 --force -o "$out/resnet8.pt"
stage eetool export "$out/resnet8.pt" --precision fp32 --precision int8 --no-judge-speed --force \
    -o "$out/resnet8.eebundle"

stage eetool profile "$out/model.eebundle" --device host --threads 1 --accept-unstable --force -o "$out/profile.json"
# All ways to ship it: both precisions, each with and without early exits, and the smaller net.
stage eetool bench "$out/model.eebundle" --data digits --against "$out/resnet8.eebundle" --min-seconds 4 \
    --accept-unstable --force -o "$out/bench.json"
# The same comparison for two boards that are not here, from their latency tables.
for device in rpi4 rpi5; do
    stage eetool estimate "$out/model.eebundle" --device "$device" --against "$out/resnet8.eebundle" --data digits --force \
        -o "$out/$device.json"
done
