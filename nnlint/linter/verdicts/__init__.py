"""What each experiment found, in sentences for people; one file for each kind.

A file of this folder defines `KIND`, the name of its field in `Experiments`, and
`tell(found, measured)`: the verdict first, then the number that matters, then what to do next.
"""

from nnlint.linter.verdicts.base import Curve, Verdict, verdicts

__all__ = ["Curve", "Verdict", "verdicts"]
