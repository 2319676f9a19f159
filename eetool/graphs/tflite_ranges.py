"""Ranges of the tensors of a TFLite file over calibration inputs, for ai-edge-quantizer."""

from pathlib import Path
from typing import Any

from eetool.graphs.calibration_feeds import Feeds


def tflite_ranges(source: str | Path, quantization_recipe: Any, feeds: Feeds) -> Any:
    """Return the smallest and the largest value of every tensor over all feeds, by name of the tensor.

    The calibration of the quantiser itself averages the extremes of the feeds, and the graph then clips those of most.
    """
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(quantization_recipe)
    calibration = calibrator.Calibrator(str(source), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    calibration.calibrate({"serving_default": feeds}, manager)
    return calibration.get_model_qsvs()
