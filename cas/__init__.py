"""A content-addressed asset cache with a lockfile: uv for datasets, models and tokenizers.

The functions here act on the project that the working directory is in (else the main
script), which is found once. ``import cas`` loads nothing heavy, and not even the functions:
each is there when it is asked for. Every error derives from ``cas.CasError``.
"""

from cas.lazy import open_rooms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.assets import add, drop, gc, init, lock, path, pull, push, status, uses, verify
    from cas.callback import TrainerCallback
    from cas.errors import CasError
    from cas.tracking import (
        experiment,
        export_experiments,
        import_experiments,
        query_experiments,
        query_experiments_arrow,
        query_experiments_polars,
        save_experiment,
    )
    from cas.training import (
        analyse_tokens,
        discover_local_datasets,
        download_dataset,
        download_model,
        get_dataset_config,
        list_datasets,
        load_dataset,
        load_tokenizer,
        load_training_data,
    )

__all__ = [
    "CasError",
    "TrainerCallback",
    "__version__",
    "add",
    "analyse_tokens",
    "discover_local_datasets",
    "download_dataset",
    "download_model",
    "drop",
    "experiment",
    "export_experiments",
    "gc",
    "get_dataset_config",
    "import_experiments",
    "init",
    "list_datasets",
    "load_dataset",
    "load_tokenizer",
    "load_training_data",
    "lock",
    "path",
    "pull",
    "push",
    "query_experiments",
    "query_experiments_arrow",
    "query_experiments_polars",
    "save_experiment",
    "status",
    "uses",
    "verify",
]

__version__ = "0.1.0"

open_rooms(
    __name__,
    assets="add drop gc init lock path pull push status uses verify",
    callback="TrainerCallback",
    errors="CasError",
    tracking="""experiment export_experiments import_experiments query_experiments
    query_experiments_arrow query_experiments_polars save_experiment""",
    training="""analyse_tokens discover_local_datasets download_dataset download_model
    get_dataset_config list_datasets load_dataset load_tokenizer load_training_data""",
)
