"""Fits that succeed as a whole or leave the estimator as it was.

A fit works on a draft: an estimator of the same class that begins with the same attributes. Only
when the draft is done does the estimator take over what changed, in one assignment. Until then it
answers as before, also while the fit runs; after an error, Ctrl-C included, it is what it was, and
so are the generators that it holds.
"""

from contextlib import contextmanager

import numpy as np


@contextmanager
def drafted(estimator):
    """Yield a draft of the estimator; take over its attributes if the block ends well.

    Parameters
    ----------
    estimator : object
        Its attributes stand in its ``__dict__``.

    Yields
    ------
    object
        The draft. Arrays that both hold are to be replaced, not written to.
    """
    before = dict(vars(estimator))
    draft = object.__new__(type(estimator))
    vars(draft).update(before)
    vars(draft).pop("_opened", None)
    # NumPy's own generator is everybody's: setting it back would repeat draws of others.
    generators = [
        (value, value.get_state(legacy=False))
        for value in before.values()
        if isinstance(value, np.random.RandomState) and value is not np.random.mtrand._rand
    ]
    try:
        yield draft
    except BaseException:
        for generator, state in generators:
            generator.set_state(state)
        raise
    finally:
        # Rows that lie on other machines.
        for rows in vars(draft).pop("_opened", ()):
            rows.close()
    _take_over(estimator, before, vars(draft))


def _take_over(estimator, before, found):
    """Give the estimator what the draft changed; what others changed meanwhile stays."""
    kept = {
        name: value
        for name, value in vars(estimator).items()
        if name in found or name not in before
    }
    changed = {
        name: value
        for name, value in found.items()
        if name not in before or value is not before[name]
    }
    estimator.__dict__ = kept | changed
