"""Simulators whose states are the truth of twin experiments and of the demo world: `lorenz96` and `sqg`.

A simulator is a frozen dataclass of parameters. `initial(members, seed)` draws states, `spin_up` lets them forget where
they came from, `step` advances them by one time step, and `run` yields what a data-assimilation cycle sees. States are
torch tensors with any leading dimensions: an ensemble is a batch.
"""
