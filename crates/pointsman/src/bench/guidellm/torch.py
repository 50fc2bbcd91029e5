"""The few names of torch that GuideLLM and datasets touch when they drive text over HTTP.

GuideLLM takes its rows through torch's DataLoader, one at a time, and nothing else of it; the real package weighs
several gigabytes with what it pulls in. Written by `pointsman bench guidellm` into the environment that it makes;
an environment with the real torch is used as it is.
"""

import sys
from types import ModuleType
from typing import Generic, TypeVar

Row = TypeVar("Row", covariant=True)


class Tensor:
    """There are none; datasets asks whether something is one."""


class Generator:
    """Keeps a seed; rows come in the order of their file."""

    def manual_seed(self, seed):
        self.seed = seed
        return self

    def initial_seed(self):
        return self.seed


class IterableDataset(Generic[Row]):
    """A source of rows."""


class DataLoader(Generic[Row]):
    """Gives the rows of a dataset one by one, in this process."""

    def __init__(self, dataset, batch_size=1, shuffle=False, collate_fn=None, **_unused):
        if batch_size != 1 or shuffle:
            raise NotImplementedError("this stand-in for torch gives single rows in their order; install torch for more")
        self.dataset = dataset
        self.collate_fn = collate_fn or (lambda rows: rows)

    def __iter__(self):
        for row in self.dataset:
            yield self.collate_fn([row])


def _module(name, **members):
    module = ModuleType(f"torch.{name}")
    module.__dict__.update(members)
    sys.modules[module.__name__] = module
    return module


nn = _module("nn", Module=type("Module", (), {}))
utils = _module("utils")
utils.data = _module("utils.data", get_worker_info=lambda: None, IterableDataset=IterableDataset, DataLoader=DataLoader)
utils.data.dataset = _module("utils.data.dataset", IterableDataset=IterableDataset)
utils.data.dataloader = _module("utils.data.dataloader", DataLoader=DataLoader)
