"""TrainerCallback: what transformers' Trainer logs, as a live run. It imports nothing heavy."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["TrainerCallback"]


def TrainerCallback(  # noqa: N802 - it is made and passed on as transformers' own callbacks are
    name: str,
    metadata: Mapping[str, Any] | None = None,
    *,
    tags: Iterable[str] = (),
    output: str | None = "",
) -> Any:
    """Return a callback for ``transformers.Trainer`` that records the training as *name*.

    Each log is a row (``step``, ``epoch`` and what the Trainer logs); the training arguments
    stand in the metadata under ``training``, without what the Trainer hides of them. At the
    end the best checkpoint, else the last one, becomes an output of the name *output*
    (``models/<name>``; None: no output). A training that resumes from a checkpoint goes on
    with the unfinished run of the name. Only the main process writes.
    """
    from cas.handy import optional, texts

    base = optional("transformers").TrainerCallback

    class Callback(base):  # type: ignore[misc, valid-type]  # the base is known when transformers is there
        """Writes one live run, from the beginning of a training to its end."""

        def __init__(self) -> None:
            self.run: Any = None
            self.saved: str | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Begin the run."""
            from cas.handy import say
            from cas.project import current
            from cas.runs import LiveRun

            if not state.is_world_process_zero:
                return
            told = {"training": args.to_sanitized_dict(), **(metadata or {})}
            resume = bool(args.resume_from_checkpoint) or state.global_step > 0
            run = LiveRun(current(), name, metadata=told, tags=texts(tags), resume=resume, tell=say)
            self.run = run.start()

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            """Log one row."""
            if self.run is not None and logs:
                self.run.log({"step": state.global_step, "epoch": state.epoch, **logs})

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Remember the checkpoint."""
            self.saved = f"{args.output_dir}/checkpoint-{state.global_step}"

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Take the checkpoint as output, and finish the run."""
            if self.run is None:
                return
            run, self.run = self.run, None
            checkpoint = state.best_model_checkpoint or self.saved
            if output is not None and checkpoint:
                run.output(checkpoint, name=output or f"models/{name}")
            run.finish()

    return Callback()
