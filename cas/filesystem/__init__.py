"""``cas://``: the locked files of a project for every program that reads through fsspec.

``cas://datasets/roneneldan/TinyStories/data/train.parquet`` is the file that assets.lock pins,
by any of the asset's names. What was pulled is read where it lies; any other file is fetched
on its first use, checked against the locked listing, and kept. Nothing can be written.

``system`` what fsspec calls · ``place`` what a path means · ``fetch`` files that are not here ·
``faults`` errors that are the system's too
"""

from cas.filesystem.system import CasFileSystem

__all__ = ["CasFileSystem"]
