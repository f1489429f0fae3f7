"""Pictures: what all figures share (`canvas`, `svg`), and those of runs and of the losses of a suite.

Every figure is drawn from what is stored of runs alone, so also long after they ended and on another machine.
"""
