"""Search of a space whose networks share the weights of a supernet: `eetool search --space`."""

from pathlib import Path

import torch

from eetool.data.source import Source
from eetool.errors import OutputError
from eetool.model.checkpoint import build_net
from eetool.model.early_exit import EarlyExitNet
from eetool.model.ofa_weights import load_ofa
from eetool.model.spec import ModelSpec
from eetool.model.supernet import Supernet
from eetool.progress import SILENT, Progress
from eetool.records import sha256_file
from eetool.search.evaluation.splits import SearchData, load_search_data
from eetool.search.evaluation.supernet_evaluator import SupernetEvaluator, largest_network
from eetool.search.search import Search, SearchOptions, SearchTarget
from eetool.search.space.space import Space
from eetool.search.space_trial import try_space
from eetool.search.supernet_training import SupernetTraining, load_supernet, save_supernet, train_supernet
from eetool.workspace import clear_leftovers


class SupernetSearch(Search):
    """One search of a space."""

    def __init__(self, source: Source, space: Space, target: SearchTarget, options: SearchOptions) -> None:
        super().__init__(space, target, options)
        self._data = load_search_data(source, options.examples)
        torch.manual_seed(options.seed)
        self.supernet = Supernet(largest_network(space, self.data))

    @property
    def data(self) -> SearchData:
        """Examples of the search."""
        return self._data

    def prepare(
        self, path: Path, training: SupernetTraining, weights: Path | None = None, progress: Progress = SILENT
    ) -> str:
        """Load the supernet from `path`, or train it and write it there.

        Args:
            path: file of the supernet.
            training: settings of its training.
            weights: initial weights of Once-for-All.
            progress: shows the steps.

        Returns:
            SHA-256 of the file.
        """
        clear_leftovers(path)
        state = path.with_name(path.name + ".resume")
        clear_leftovers(state)
        if path.exists():
            load_supernet(path, self.supernet, self.full_space, self.data)
        else:
            try_space(self.full_space, self.supernet.network, self.data, self.options.seed)
            if weights is not None:
                load_ofa(self.supernet, weights, progress)
            train_supernet(
                self.supernet, self.full_space, self.data, training, state, True, progress, self.torch_device
            )
            self._save_or_load(path, training)
        return sha256_file(path)

    def _save_or_load(self, path: Path, training: SupernetTraining) -> None:
        """Write the supernet, or load the one that another worker of the study wrote meanwhile."""
        try:
            save_supernet(path, self.supernet, self.full_space, self.data, training)
        except OutputError:
            if not path.exists():
                raise
            load_supernet(path, self.supernet, self.full_space, self.data)

    def evaluator(self) -> SupernetEvaluator:
        """Return the evaluator of candidates."""
        return SupernetEvaluator(self.space, self.supernet, self.data, self.estimator, self.evaluation_settings())

    def unsplit_network(self) -> tuple[ModelSpec, EarlyExitNet]:
        """Return the largest network of the space without exits."""
        network = self.full_space.network(self.full_space.largest())
        spec = ModelSpec(network.backbone, self.data.inputs, self.data.classes, (), (), network.config)
        return spec, build_net(spec).eval()
