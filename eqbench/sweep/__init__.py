"""Hyperparameter sweeps: a search space over a suite's run, searched, scheduled and judged.

Names are imported from their modules: `eqbench.sweep.definition.load_sweep` reads a sweep file,
`eqbench.sweep.space` and `eqbench.sweep.objective` say what is searched and for what.
"""
