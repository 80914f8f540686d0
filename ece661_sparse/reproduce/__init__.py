"""The published tables, run again: each row an experiment that anyone can repeat.

    python -m ece661_sparse reproduce table1 --row gsm-lenet300-60x --profile full

Five floors, each on those below: ``cli``, the command line; ``report``, published
beside ours; ``tables``, the rows; ``engine``, which runs, measures and keeps them;
``recipes``, the methods. To add a row:

1. Write its recipe in ``recipes``, a function ``recipe(run, **settings) -> Outcome``.
   It starts from ``run.base("lenet300")`` (or ``run.untrained``), trains with
   ``run.fit`` in named stages and returns the pruned network::

       def magnitude(run, keep, epochs, **training):
           model = run.base("lenet300")
           prune(model, keep)
           retrain(run, model, epochs, **training)      # of recipes.finish
           return Outcome(model, retrained=True)

   Every stage is checkpointed after each epoch, so that a run killed anywhere goes on
   and ends with the same bits: randomness only from torch's global generator, and
   what changes during a stage only in the model and the optimizer. Under torchrun every
   process runs the recipe, and ``run.fit`` shares out the batches.
2. Choose its settings with ``--validate``: it trains without a tenth or so of the
   training set and reports the accuracy on that. A recipe never sees the test set;
   the runner measures on it once, at the end.
3. Add a ``Row`` to the ``ROWS`` of a module of ``tables``: published figures, recipe,
   settings for each profile. A new table is a module of its own, named in ``TABLES``.
4. Run it, and commit what it wrote into ``book/results/<table>``: ``<row>.json`` and
   ``<row>.safetensors``. ``--verify`` counts and measures the committed weights again.
"""

from ece661_sparse.reproduce.engine.results import read_result, results_folder
from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.reproduce.recipes.run import Outcome, Run
from ece661_sparse.reproduce.report import results_table
from ece661_sparse.reproduce.tables import TABLES, load_table

__all__ = [
    "TABLES",
    "Outcome",
    "Row",
    "Run",
    "load_table",
    "read_result",
    "results_folder",
    "results_table",
]
