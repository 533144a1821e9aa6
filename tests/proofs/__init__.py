"""Proofs by faults: kills, errors and power cuts at every point, and what must hold after each.

`faults.c` is preloaded into the command under test, which is the installed ``cas`` as a black
box. Each room is one step: ``shim`` runs a command with a fault · ``box`` is a project and a
store that can be put back · ``scenarios`` are the commands and the states they start from ·
``oracle`` is what must hold · ``order`` reads a trace for syncs that are missing · ``sweep``
goes over the points · ``orders`` stops one command at a call while another runs · ``races``
runs many at once, ``readers`` read meanwhile, ``days`` lets time pass over gc, and ``views`` is
what must hold of them · ``disks`` are loop-mounted file systems and their cut · ``alter`` makes
a copy of cas with a text replaced, and ``mutants`` are faults put into one, which the harnesses
must find · ``report`` is the table.

``python -m tests.proofs`` runs all of it and prints the table.
"""
