"""The published tables, run again: each row an experiment that anyone can repeat.

    python -m ece661_sparse reproduce table1 --row gsm-lenet300-60x --profile full

A table is a module of this package with a tuple ``ROWS``, named in ``rows.TABLES``.
To add a row:

1. Write its recipe, a function ``recipe(run, **settings) -> Outcome``. It starts from
   ``run.base("lenet300")`` (or ``run.untrained``), trains with ``run.fit`` in named
   stages and returns the pruned network::

       def magnitude(run, keep, epochs, lr):
           model = run.base("lenet300")
           prune(model, keep)
           sgd = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
           run.retrain("retrain", model, sgd, epochs=epochs, batch_size=128)
           return Outcome(model, retrained=True)

   Every stage is checkpointed after each epoch, so that a run killed anywhere goes on
   and ends with the same bits: randomness only from torch's global generator, and
   what changes during a stage only in the model and the optimizer. Under torchrun every
   process runs the recipe, and ``run.fit`` shares out the batches.
2. Choose its settings with ``--validate``: it trains without a tenth or so of the
   training set and reports the accuracy on that. A recipe never sees the test set;
   the runner measures on it once, at the end.
3. Add a ``Row`` to ``ROWS``: published figures, recipe, settings for each profile.
4. Run it, and commit ``book/results/<table>/<row>.json`` and ``.safetensors``.
   ``--verify`` counts and measures the committed weights again.
"""

from ece661_sparse.reproduce.report import results_table
from ece661_sparse.reproduce.rows import TABLES, Outcome, Row, Run, load_table

__all__ = ["TABLES", "Outcome", "Row", "Run", "load_table", "results_table"]
