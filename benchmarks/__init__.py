"""cas and its peers, side by side in one run.

``python -m benchmarks`` runs every row, ``--row NAME`` some of them. In a row the contestants
take turns, A B A B, each as a whole process, its start included; the figures are medians of
wall time, CPU seconds (user and system, of the process and all it waited for) and peak memory.
After every run it is checked that the work was really done. Results go to
``.bench/results.json``, a table to stdout, and ``--write FILE`` puts the table between the
two marker comments of FILE. Data is generated under ``.bench/`` and removed afterwards.
"""
