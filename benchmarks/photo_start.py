"""Temporary start."""

import sys
from photo_steps import HERE

REFERENCES = {
    "efficientnet-lite0": "efficientnet_lite0:make",
    "mobilenetv1-0.25": "efficientnet_lite0:mobilenet_quarter",
    "mobilenetv1-0.5": "efficientnet_lite0:mobilenet_half",
}
LITE = "0.498039,0.498039,0.498039/0.501961,0.501961,0.501961"
MOB = "0.501961,0.501961,0.501961/0.501961,0.501961,0.501961"
PIXELS = {"efficientnet-lite0": LITE, "mobilenetv1-0.25": MOB, "mobilenetv1-0.5": MOB}


def write(folder, network, published):
    target = f"{network.name}.start.safetensors"
    if not (folder.path / target).exists():
        sys.path.insert(0, str(HERE))
        import torch

        torch.set_num_threads(1)
        import efficientnet_lite0 as nets

        net = getattr(nets, REFERENCES[network.reference].split(":")[1])()
        print("start", network.name, file=sys.stderr, flush=True)
        nets.write_start(
            published,
            folder.path / target,
            f"folder:{folder.path}/photographs@{network.size}",
            0,
            net,
            127 if network.reference.startswith("eff") else 128,
        )
    return target


def named(models):
    out = []
    for one in REFERENCES.values():
        out += ["--model", one]
    return out
