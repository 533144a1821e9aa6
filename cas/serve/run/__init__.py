"""``cas run``: unmodified Hugging Face programs get what is locked, and their uses are noted.

``walk`` all of it, in order · ``place`` the run's directory and the program's environment ·
``view`` what is locked, as huggingface_hub's cache · ``door`` a port whose server starts when
one knocks · ``front`` who answers a request ·
``routes`` what it is about · ``peers`` which process asks · ``onward`` the real Hub ·
``apart`` threads that nobody waits for · ``unlocked`` what is not locked · ``past`` what an
experiment had · ``child`` the program, its signals and its end
"""

from cas.serve.run.walk import RunOptions, run

__all__ = ["RunOptions", "run"]
