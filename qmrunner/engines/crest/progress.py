"""Progress of a running CREST, from its log: versions 3.0 (native and --legacy) and 2.12.

CREST chooses the number of metadynamics cycles during the run, so `fraction` is of a phase only, and `done` assumes the
usual number. All cycles take about as long; the durations of their parts are from recorded runs (docs/decisions, 45).
"""

from __future__ import annotations

import re

from qmrunner.model.jobs import Progress

_PHASES = (
    (re.compile(r"^ *(Initial|xTB) Geometry Optimization *$"), "initial optimisation"),
    (re.compile(r"^Starting (a )?trial MTD| Starting trial MTD"), "trial metadynamics"),
    (re.compile(r"^ *+(?:\| *+)?Multilevel (Ensemble )?Optimization"), "ensemble optimisation"),
    (re.compile(r"Structure Crossing \(GC\)"), "structure crossing"),
    (re.compile(r"^ *\| +Final Geometry Optimization"), "final optimisation"),
    (re.compile(r"Final Ensemble Information"), "sorting"),
)
# 2.12 prints no iteration number if it runs only one: ``--mquick``, ``--nomlo`` and similar options.
_ITERATION = re.compile(r"^ *(?:(?:Meta-Dynamics|MTD) Iteration +(\d+)|MTD Simulations *$)")
_BATCH = re.compile(r"^ *Estimated runtime for a batch of (\d+) MTDs? on \d+ threads?: *(.+?) *$")
_BIAS = re.compile(r"^\$metadyn ")
_STARTING = re.compile(r"^Starting Meta-MD +(\d+)")
_DONE = re.compile(r"^\*(?:Meta-)?MTD +(\d+) (?:completed|finished|terminated)")
_OPTIMISING = re.compile(r"^ Optimizing all (\d+) structures")
_PERCENT = re.compile(r"\|>(\d+(?:\.\d+)?)%")
_COUNTED = re.compile(r"^(?: \d+)+ *$")
_VERY_QUICK = re.compile(r"^ *[$>] crest .*--?(?:mquick|squick)\b")
# The usual number of cycles, the part of a cycle that is metadynamics, and the time after the last cycle, in cycles.
_USUAL, _VERY_QUICK_ONES = (2, 0.55, 0.35), (1, 0.75, 0.02)
_PASSES = 2  # optimisations of the structures of one cycle
_AFTER_CYCLES = ("structure crossing", "final optimisation", "sorting")
_LOWEST = re.compile(r"E lowest *: *(-?\d+\.\d+)")


class CrestReader:
    """Follows phases, finished metadynamics runs and the lowest energy (Hartree) so far.

    In metadynamics `iteration` counts the cycle of CREST, `fraction` the runs of that cycle; `text` holds CREST's own
    estimate of the runtime until runs finish.
    """

    def __init__(self) -> None:
        self._phase: str | None = None
        self._iteration: int | None = None
        self._runs: int | None = None
        self._biases = 0
        self._finished: set[int] = set()
        self._structures: int | None = None
        self._energy: float | None = None
        self._shape = _USUAL
        self._passes = 0

    def feed(self, line: str) -> Progress | None:
        """See ProgressReader."""
        if _VERY_QUICK.match(line):
            self._shape = _VERY_QUICK_ONES
        for pattern, phase in _PHASES:
            if pattern.search(line):
                self._phase = phase
                return self._progress()
        return self._dynamics(line) or self._ensemble(line)

    def _dynamics(self, line: str) -> Progress | None:
        if hit := _ITERATION.match(line):
            self._phase, self._iteration = "metadynamics", int(hit[1] or 1)
            self._finished, self._biases, self._passes = set(), 0, 0
            # Later cycles have fewer runs than the first: forget the estimate.
            self._runs = self._runs if self._iteration == 1 else None
            return self._progress()
        if hit := _BATCH.match(line):
            self._runs = int(hit[1])
            return self._progress(text=f"CREST expects {hit[2]} for {hit[1]} metadynamics runs")
        if _BIAS.match(line):
            self._biases += 1
            self._runs = max(self._biases, self._runs or 0) if self._iteration == 1 else self._biases
        elif (hit := _STARTING.match(line)) and not self._biases:
            # 2.12 lists no biases; it starts its runs in descending order of their numbers.
            self._runs = max(int(hit[1]), self._runs or 0)
        elif hit := _DONE.match(line):
            return self._run_done(int(hit[1]))
        return None

    def _run_done(self, number: int) -> Progress:
        self._finished.add(number)
        done, runs = len(self._finished), self._runs
        share = min(done / runs, 1.0) if runs else None
        return self._progress(fraction=share, text=f"{done} of {runs or '?'} metadynamics runs")

    def _ensemble(self, line: str) -> Progress | None:
        if hit := _OPTIMISING.match(line):
            self._structures = int(hit[1])
            return self._progress(fraction=0.0, text=f"optimising {hit[1]} structures")
        if percents := _PERCENT.findall(line):
            return self._progress(fraction=float(percents[-1]) / 100.0)
        if self._structures and _COUNTED.match(line):
            return self._progress(fraction=min(int(line.split()[-1]) / self._structures, 1.0))
        if hit := _LOWEST.search(line):
            self._energy = float(hit[1])
            return self._progress()
        return None

    def _progress(self, fraction: float | None = None, text: str | None = None) -> Progress:
        if self._phase == "ensemble optimisation" and fraction == 1.0:
            self._passes += 1
        done = self._done(fraction)
        return Progress(self._phase, self._iteration, self._energy, fraction=fraction, text=text, done=done)

    def _done(self, fraction: float | None) -> float | None:
        """The share of the whole search, once metadynamics have begun; None between two fractions of a phase."""
        if self._iteration is None or fraction is None:
            return None
        usual, dynamics_end, tail = self._shape
        cycles = max(usual, self._iteration)
        if self._phase in _AFTER_CYCLES or self._passes > _PASSES:
            within = 1.0 + 0.5 * tail
        elif self._phase == "metadynamics":
            within = dynamics_end * fraction
        else:
            passes = self._passes if fraction == 1.0 else self._passes + fraction
            within = dynamics_end + (1.0 - dynamics_end) * min(passes / _PASSES, 1.0)
        return (self._iteration - 1 + within) / (cycles + tail)
